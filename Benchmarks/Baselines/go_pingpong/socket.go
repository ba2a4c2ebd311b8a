// SPDX-License-Identifier: Apache-2.0
package main

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

const (
	controlBytes = 2048
	pattern      = 0x5a
)

// The message that every end sends. It carries one /dev/null descriptor, repeated as often as the
// options specify.
type outgoing struct {
	bytes, control []byte
	file           *os.File
}

func newOutgoing(o *options) *outgoing {
	file, err := os.Open("/dev/null")
	check(err)
	out := &outgoing{bytes: make([]byte, o.bytes), file: file}
	for i := range out.bytes {
		out.bytes[i] = pattern
	}
	if o.fds > 0 {
		descriptors := make([]int, o.fds)
		for i := range descriptors {
			descriptors[i] = int(file.Fd())
		}
		out.control = syscall.UnixRights(descriptors...)
	}
	return out
}

// One end of a pair and its receive buffers.
type end struct {
	conn           *net.UnixConn
	out            *outgoing
	options        *options
	bytes, control []byte
}

func newEnd(conn *net.UnixConn, o *options, out *outgoing) *end {
	e := &end{conn: conn, out: out, options: o, bytes: make([]byte, o.bytes)}
	if o.fds > 0 {
		e.control = make([]byte, controlBytes)
	}
	return e
}

func unixConn(fd int) *net.UnixConn {
	file := os.NewFile(uintptr(fd), "socket")
	conn, err := net.FileConn(file) // duplicates the descriptor
	check(err)
	check(file.Close())
	return conn.(*net.UnixConn)
}

func openPair(o *options) (near, far *net.UnixConn) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, o.socketType|syscall.SOCK_CLOEXEC, 0)
	check(err)
	return unixConn(fds[0]), unixConn(fds[1])
}

func (e *end) send() {
	// WriteMsgUnix, unlike Write, does not continue after a partial write to a stream.
	sent, _, err := e.conn.WriteMsgUnix(e.out.bytes, e.out.control, nil)
	check(err)
	if sent < e.options.bytes {
		_, err = e.conn.Write(e.out.bytes[sent:])
		check(err)
	}
}

// Receives one message and closes its descriptors. Returns false if either end was closed.
func (e *end) receive() bool {
	for received := 0; received < e.options.bytes; {
		count, controlCount, flags, _, err := e.conn.ReadMsgUnix(e.bytes[received:], e.control)
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
			return false
		}
		check(err)
		descriptors := closeDescriptors(e.control[:controlCount])
		if count == 0 {
			return false
		}
		e.checkPiece(received, count, descriptors, flags)
		received += count
	}
	return true
}

func (e *end) checkPiece(offset, count, descriptors, flags int) {
	expected := 0
	if offset == 0 { // descriptors arrive with a message's first byte
		expected = e.options.fds
	}
	if e.options.fds > 0 && flags&syscall.MSG_CTRUNC != 0 {
		fail("truncated control data")
	}
	if flags&syscall.MSG_TRUNC != 0 {
		fail("truncated payload")
	}
	if descriptors != expected {
		fail("%d descriptors arrived instead of %d", descriptors, expected)
	}
	if e.bytes[offset] != pattern || e.bytes[offset+count-1] != pattern {
		fail("a received payload has the wrong bytes")
	}
	if e.options.kind != "stream" && count != e.options.bytes {
		fail("%d bytes arrived instead of %d", count, e.options.bytes)
	}
}

func closeDescriptors(control []byte) int {
	if len(control) == 0 {
		return 0
	}
	items, err := syscall.ParseSocketControlMessage(control)
	check(err)
	count := 0
	for i := range items {
		if items[i].Header.Level != syscall.SOL_SOCKET || items[i].Header.Type != syscall.SCM_RIGHTS {
			continue
		}
		descriptors, err := syscall.ParseUnixRights(&items[i])
		check(err)
		for _, descriptor := range descriptors {
			check(syscall.Close(descriptor))
		}
		count += len(descriptors)
	}
	return count
}
