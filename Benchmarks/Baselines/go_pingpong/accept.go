// SPDX-License-Identifier: Apache-2.0
package main

import (
	"net"
)

// Runs accept mode: connects, accepts, sends one message, and closes both ends, with `pairs`
// connections open at a time.
func accept(b *bench) figures {
	// The empty name makes the kernel choose a free abstract address.
	listener, err := net.ListenUnix(b.network, &net.UnixAddr{Name: "", Net: b.network})
	check(err)
	address := listener.Addr().(*net.UnixAddr)
	slots := make(chan struct{}, b.pairs) // the client fills a slot; the server empties it after closing
	b.start(func() { b.serve(listener, slots) })
	b.start(func() {
		for b.running() {
			slots <- struct{}{}
			conn, err := net.DialUnix(b.network, nil, address)
			check(err)
			newEnd(conn, b.options, b.out).send()
			check(conn.Close())
		}
		for i := 0; i < b.pairs; i++ {
			slots <- struct{}{}
		}
		check(listener.Close())
	})
	return b.finish(b.measure())
}

func (b *bench) serve(listener *net.UnixListener, slots chan struct{}) {
	for {
		conn, err := listener.AcceptUnix()
		if err != nil {
			if b.running() {
				fail("accept: %v", err)
			}
			return
		}
		b.start(func() {
			if !newEnd(conn, b.options, b.out).receive() {
				fail("the peer closed")
			}
			check(conn.Close())
			if b.phase.Load() == measuring {
				b.measured.Add(1)
			}
			<-slots
		})
	}
}
