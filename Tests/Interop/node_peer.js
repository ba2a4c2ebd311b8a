// SPDX-License-Identifier: Apache-2.0
// A foreign peer for the tests: passes handles between processes with `send(message, handle)` of
// Node's child_process, over the descriptor that NODE_CHANNEL_FD names.
//
// It first receives sockets, answers each with "got " and the message that accompanied it, and ends
// the connection. After the message "your turn" with a count, it sends that many listening servers,
// each with its port and inode. It closes the channel when the other side has taken all of them.
const fs = require('fs');
const net = require('net');

// The process ends even if the other side does not respond.
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
