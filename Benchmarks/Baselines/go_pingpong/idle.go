// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// The largest number of messages in flight.
const wave = 64

// Raises the descriptor limit to the hard limit, or beyond it if the process is permitted to, and
// returns it.
func raiseDescriptorLimit() int {
	wanted := syscall.Rlimit{Cur: 1000000, Max: 1000000}
	var limit syscall.Rlimit
	check(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	if limit.Max < wanted.Max && syscall.Setrlimit(syscall.RLIMIT_NOFILE, &wanted) == nil {
		return int(wanted.Cur)
	}
	limit.Cur = limit.Max
	check(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	return int(limit.Max)
}

// Returns 10,000, or fewer if both ends of that many pairs, together with the descriptors received
// in one wave, would exceed the descriptor limit.
func idlePairs(fds int) int {
	pairs := (raiseDescriptorLimit() - wave - wave*fds) / 2
	if pairs > 10000 {
		return 10000
	}
	return pairs
}

func residentBytes() int {
	text, err := os.ReadFile("/proc/self/statm")
	check(err)
	var total, resident int
	_, err = fmt.Sscan(string(text), &total, &resident)
	check(err)
	return resident * os.Getpagesize()
}

// Runs idle mode: measures the memory of a goroutine that waits for a message, then sends one
// message to each.
func idle(b *bench) figures {
	before := residentBytes()
	var waiting atomic.Int64
	slots := make(chan struct{}, wave) // filled before a send, emptied on arrival
	near := make([]*end, b.pairs)
	for i := range near {
		nearConn, farConn := openPair(b.options)
		near[i] = &end{conn: nearConn, out: b.out, options: b.options}
		b.start(func() {
			far := newEnd(farConn, b.options, b.out)
			waiting.Add(1)
			if !far.receive() {
				fail("the peer closed")
			}
			<-slots
			check(farConn.Close())
		})
	}
	for waiting.Load() < int64(b.pairs) {
		runtime.Gosched()
	}
	resident := float64(residentBytes()-before) / float64(b.pairs)

	start := time.Now()
	for _, e := range near {
		slots <- struct{}{}
		e.send()
	}
	for i := 0; i < wave; i++ {
		slots <- struct{}{}
	}
	elapsed := time.Since(start)
	b.working.Wait()
	for _, e := range near {
		check(e.conn.Close())
	}
	return figures{messages: uint64(b.pairs), elapsed: elapsed, resident: resident}
}
