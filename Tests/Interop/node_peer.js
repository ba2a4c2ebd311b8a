// SPDX-License-Identifier: Apache-2.0
// A foreign peer for the tests: Node's own way to pass handles between processes, child_process's
// `send(message, handle)`, over the descriptor
// that NODE_CHANNEL_FD names.
//
// First it receives sockets: it answers each with "got " and the message that it came with, and
// ends it. The message "your turn" with a count makes it
// send so many listening servers, each with its port and its inode, and then end the channel when
// all have been taken.
const fs = require('fs');
const net = require('net');

// Ends by itself, whatever the other side does.
setTimeout(() => process.exit(2), 30000).unref();

process.on('message', (message, socket) => {
  if (socket) {
    socket.end('got ' + message.name);
  } else {
    sendServers(message.count);
  }
});

function sendServers(count) {
  const servers = [];
  let taken = 0;
  for (let number = 0; number < count; number++) {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      servers[number] = server;
      if (servers.filter(Boolean).length === count) servers.forEach(send);
    });
  }
  function send(server, number) {
    const inode = Number(/\d+/.exec(fs.readlinkSync('/proc/self/fd/' + server._handle.fd))[0]);
    const message = {name: 'server ' + number, port: server.address().port, inode};
    process.send(message, server, error => {
      if (error) throw error;
      server.close();
      if (++taken === count) process.disconnect();
    });
  }
}
