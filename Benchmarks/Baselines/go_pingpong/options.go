// SPDX-License-Identifier: Apache-2.0
package main

import (
	"flag"
	"fmt"
	"os"
	"syscall"
)

// The arguments, which are those of the C baselines.
type options struct {
	mode, kind        string
	pairs, fds, bytes int
	threads           int
	seconds, warmup   float64
	socketType        int
	network           string
}

var socketTypes = map[string]int{
	"stream":    syscall.SOCK_STREAM,
	"seqpacket": syscall.SOCK_SEQPACKET,
	"dgram":     syscall.SOCK_DGRAM,
}

var networks = map[string]string{"stream": "unix", "seqpacket": "unixpacket", "dgram": "unixgram"}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "go_pingpong: "+format+"\n", arguments...)
	os.Exit(1)
}

func check(err error) {
	if err != nil {
		fail("%v", err)
	}
}

func checkRange(name string, value, low, high int) {
	if value < low || value > high {
		fail("--%s %d: expected a whole number from %d to %d", name, value, low, high)
	}
}

func parse() *options {
	o := &options{}
	flag.StringVar(&o.mode, "mode", "pingpong", "pingpong, oneway, twothreads, idle or accept")
	flag.StringVar(&o.kind, "kind", "stream", "stream, seqpacket or dgram")
	flag.IntVar(&o.pairs, "pairs", 0, "socket pairs; in accept mode, connections at a time (1; in idle mode 10000, or what the limit permits)")
	flag.IntVar(&o.fds, "fds", 1, "descriptors in each message, 0 to 253")
	flag.IntVar(&o.bytes, "bytes", 64, "payload of each message, 1 to 65536")
	flag.IntVar(&o.threads, "threads", 0, "GOMAXPROCS (1; 2 in twothreads mode)")
	flag.Float64Var(&o.seconds, "seconds", 1, "measured time")
	flag.Float64Var(&o.warmup, "warmup", 0.2, "seconds before the measurement")
	flag.Parse()
	o.complete()
	return o
}

func (o *options) complete() {
	if flag.NArg() > 0 {
		fail("unexpected argument %s (see --help)", flag.Arg(0))
	}
	if modes[o.mode] == nil {
		fail("--mode %s: unknown (see --help)", o.mode)
	}
	if socketTypes[o.kind] == 0 {
		fail("--kind %s: expected stream, seqpacket or dgram", o.kind)
	}
	if o.mode == "accept" && o.kind == "dgram" {
		fail("datagram sockets do not accept")
	}
	o.socketType, o.network = socketTypes[o.kind], networks[o.kind]
	if o.threads == 0 {
		o.threads = 1
		if o.mode == "twothreads" {
			o.threads = 2
		}
	}
	checkRange("fds", o.fds, 0, 253)
	if o.pairs == 0 {
		o.pairs = 1
		if o.mode == "idle" {
			o.pairs = idlePairs(o.fds)
		}
	}
	checkRange("pairs", o.pairs, 1, 100000)
	checkRange("bytes", o.bytes, 1, 65536)
	checkRange("threads", o.threads, 1, 256)
	if !(o.seconds >= 0.001 && o.seconds <= 3600 && o.warmup >= 0 && o.warmup <= 3600) {
		fail("--seconds and --warmup: expected at most 3600")
	}
}
