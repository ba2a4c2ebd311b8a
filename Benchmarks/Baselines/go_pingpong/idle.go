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

// Messages on their way at once.
const wave = 64

// As far as it may go, beyond the hard limit too if that is permitted.
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

// 10,000, unless both ends of so many pairs and the received descriptors of a wave exceed the
// limit.
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

// What a goroutine that waits for a message costs in memory, then one message to each.
func idle(b *bench) figures {
	before := residentBytes()
	var waiting atomic.Int64
	slots := make(chan struct{}, wave) // filled before a send, emptied when its message has arrived
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
