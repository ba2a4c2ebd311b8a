// SPDX-License-Identifier: Apache-2.0
// Does the work of the C baselines with Go's net.UnixConn and a goroutine for each end of a pair.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	warming int32 = iota
	measuring
	done
)

// A run: the state that the goroutines share. Each adds its counts once, when it ends.
type bench struct {
	*options
	out      *outgoing
	phase    atomic.Int32
	measured atomic.Uint64
	working  sync.WaitGroup
}

type figures struct {
	messages uint64
	elapsed  time.Duration
	resident float64 // bytes per connection, in idle mode
}

var modes map[string]func(*bench) figures

func init() {
	modes = map[string]func(*bench) figures{
		"pingpong": pingpong, "twothreads": pingpong, "oneway": oneway, "idle": idle, "accept": accept,
	}
}

func (b *bench) running() bool { return b.phase.Load() != done }

func (b *bench) start(work func()) {
	b.working.Add(1)
	go func() {
		defer b.working.Done()
		work()
	}()
}

// Lets the goroutines warm up, then measures them.
func (b *bench) measure() time.Duration {
	time.Sleep(time.Duration(b.warmup * 1e9))
	start := time.Now()
	b.phase.Store(measuring)
	time.Sleep(time.Duration(b.seconds * 1e9))
	b.phase.Store(done)
	return time.Since(start)
}

func (b *bench) finish(elapsed time.Duration) figures {
	b.working.Wait()
	return figures{messages: b.measured.Load(), elapsed: elapsed}
}

// Runs ping-pong mode: each end answers every message that it receives.
func pingpong(b *bench) figures {
	for i := 0; i < b.pairs; i++ {
		near, far := openPair(b.options)
		farEnd, nearEnd := newEnd(far, b.options, b.out), newEnd(near, b.options, b.out)
		b.start(func() {
			for farEnd.receive() {
				farEnd.send()
			}
		})
		b.start(func() {
			count := uint64(0)
			for b.running() {
				nearEnd.send()
				if !nearEnd.receive() {
					fail("the peer closed")
				}
				if b.phase.Load() == measuring {
					count += 2
				}
			}
			b.measured.Add(count)
			// Closing the far end here as well ends its receive on every kind of socket.
			check(far.Close())
			check(near.Close())
		})
	}
	return b.finish(b.measure())
}

// Runs one-way mode: one end sends, the other receives.
func oneway(b *bench) figures {
	for i := 0; i < b.pairs; i++ {
		near, far := openPair(b.options)
		nearEnd, farEnd := newEnd(near, b.options, b.out), newEnd(far, b.options, b.out)
		received := new(atomic.Uint64)
		b.start(func() {
			count := uint64(0)
			for farEnd.receive() {
				received.Add(1)
				if b.phase.Load() == measuring {
					count++
				}
			}
			b.measured.Add(count)
		})
		b.start(func() {
			sent := uint64(0)
			for ; b.running(); sent++ {
				nearEnd.send()
			}
			for received.Load() < sent {
				runtime.Gosched()
			}
			check(far.Close())
			check(near.Close())
		})
	}
	return b.finish(b.measure())
}

func countOpenDescriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	check(err)
	return len(entries)
}

func figure(applies bool, value float64) string {
	if !applies {
		return "null"
	}
	return fmt.Sprintf("%.1f", value)
}

func report(o *options, f figures) {
	if f.messages == 0 {
		fail("nothing was measured")
	}
	ns := float64(f.elapsed.Nanoseconds()) / float64(f.messages)
	fmt.Printf(`{"program":"go_pingpong","mode":"%s","kind":"%s","pairs":%d,"fds":%d,"bytes":%d,"threads":%d,`+
		`"ns_per_roundtrip":%s,"ns_per_message":%.1f,"resident_bytes_per_connection":%s,"messages":%d,"enters_per_message":null}`+"\n",
		o.mode, o.kind, o.pairs, o.fds, o.bytes, o.threads,
		figure(o.mode == "pingpong" || o.mode == "twothreads", 2*ns), ns, figure(o.mode == "idle", f.resident), f.messages)
}

// Opens the files that the runtime's poller keeps open until the process ends.
func warmPoller(o *options) {
	near, far := openPair(o)
	check(near.Close())
	check(far.Close())
}

func main() {
	raiseDescriptorLimit()
	o := parse()
	runtime.GOMAXPROCS(o.threads)
	b := &bench{options: o, out: newOutgoing(o)}
	warmPoller(o)
	before := countOpenDescriptors()
	f := modes[o.mode](b)
	if after := countOpenDescriptors(); after != before {
		fail("%d descriptors leaked", after-before)
	}
	report(o, f)
}
