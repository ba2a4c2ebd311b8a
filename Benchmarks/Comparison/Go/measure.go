// SPDX-License-Identifier: Apache-2.0

// What the comparison measures of handover.go. See ../README.md.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

func openDescriptors() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

func spin(duration time.Duration) {
	for start := time.Now(); time.Since(start) < duration; {
	}
}

// What a program does at first: a goroutine reads, and select gives it up.
func receivePlainly(ctx context.Context, peer *net.UnixConn) (int, error) {
	received := make(chan int, 1)
	go func() {
		number, err := take(peer)
		if err == nil {
			received <- number
		}
	}()
	select {
	case number := <-received:
		return number, nil
	case <-ctx.Done():
		return -1, ctx.Err()
	}
}

func take(peer *net.UnixConn) (int, error) {
	bytes, control := make([]byte, 1), make([]byte, syscall.CmsgSpace(4))
	_, length, _, _, err := peer.ReadMsgUnix(bytes, control)
	if err != nil {
		return -1, err
	}
	messages, err := syscall.ParseSocketControlMessage(control[:length])
	if err != nil || len(messages) == 0 {
		return -1, syscall.EBADMSG
	}
	numbers, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(numbers) == 0 {
		return -1, syscall.EBADMSG
	}
	return numbers[0], nil
}

func connection(number int) *net.UnixConn {
	file := os.NewFile(uintptr(number), "peer")
	defer file.Close()
	connection, err := net.FileConn(file)
	if err != nil {
		panic(err)
	}
	return connection.(*net.UnixConn)
}

func pair() (*net.UnixConn, *net.UnixConn) {
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	return connection(ends[0]), connection(ends[1])
}

func cancelRounds(count int, plain bool) {
	original, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	listener, _ := original.(*net.TCPListener).File()
	received, left, lost := 0, 0, 0
	run := func(i int) {
		client, service := pair()
		ctx, cancel := context.WithCancel(context.Background())
		begun, ended := make(chan struct{}), make(chan int)
		go func() {
			close(begun)
			if plain {
				number, _ := receivePlainly(ctx, service)
				ended <- number
			} else if file, err := receive(ctx, service); err == nil {
				file.Close()
				ended <- -2
			} else {
				ended <- -1
			}
		}()
		<-begun
		spin(20 * time.Microsecond)
		if err := pass(client, listener); err != nil {
			panic(err)
		}
		spin(time.Duration(i * 7919 % 100000))
		cancel()
		number := <-ended
		if number >= 0 {
			syscall.Close(number)
		}
		if number != -1 {
			received++
		} else {
			// What is left comes before the end.
			client.Close()
			if pending, err := take(service); err == nil {
				left++
				syscall.Close(pending)
			} else {
				lost++
			}
		}
		client.Close()
		service.Close()
	}
	// The first round opens what the runtime needs.
	run(0)
	received, left, lost = 0, 0, 0
	before := openDescriptors()
	for i := 0; i < count; i++ {
		run(i)
	}
	fmt.Printf("{\"received\": %d, \"left\": %d, \"lost\": %d, \"leaked\": %d}\n",
		received, left, lost, openDescriptors()-before)
}

func isCloseOnExec(number int) int {
	flags, _, _ := syscall.Syscall(syscall.SYS_FCNTL, uintptr(number), syscall.F_GETFD, 0)
	return int(flags & syscall.FD_CLOEXEC)
}

func control(peer *net.UnixConn) {
	ctx, before := context.Background(), openDescriptors()
	careful, err := receive(ctx, peer)
	if err != nil {
		panic(err)
	}
	plain, err := take(peer)
	if err != nil {
		panic(err)
	}
	flags := []int{isCloseOnExec(int(careful.Fd())), isCloseOnExec(plain)}
	careful.Close()
	syscall.Close(plain)
	outcome := "received"
	if _, err := receive(ctx, peer); err != nil {
		outcome = err.Error()
	}
	leaked := openDescriptors() - before
	if plain, err = take(peer); err == nil {
		syscall.Close(plain)
	}
	fmt.Printf("{\"cloexec\": %d, \"plain_cloexec\": %d, \"three\": %q, ", flags[0], flags[1], outcome)
	fmt.Printf("\"leaked\": %d, \"plain_leaked\": %d}\n", leaked, openDescriptors()-before-leaked)
}

func main() {
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	switch mode {
	case "cancel", "plain":
		count, _ := strconv.Atoi(os.Args[2])
		cancelRounds(count, mode == "plain")
	case "control":
		control(connection(3))
	default:
		peer := connection(3)
		for serve(peer) == nil {
		}
	}
}
