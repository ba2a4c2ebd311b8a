// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

func pass(peer *net.UnixConn, listener *os.File) error {
	_, _, err := peer.WriteMsgUnix([]byte("L"), syscall.UnixRights(int(listener.Fd())), nil)
	return err
}

// A deadline ends ReadMsgUnix without losing a message; a goroutine that reads, and is given up,
// would.
func receive(ctx context.Context, peer *net.UnixConn) (*os.File, error) {
	returned, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-ctx.Done():
			peer.SetReadDeadline(time.Unix(1, 0))
		case <-returned:
		}
	}()
	bytes, control := make([]byte, 1), make([]byte, syscall.CmsgSpace(4))
	_, length, flags, _, err := peer.ReadMsgUnix(bytes, control)
	close(returned)
	<-watched
	peer.SetReadDeadline(time.Time{})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, ctx.Err()
	} else if err != nil {
		return nil, err
	}
	var numbers []int
	messages, err := syscall.ParseSocketControlMessage(control[:length])
	if err == nil && len(messages) == 1 {
		numbers, _ = syscall.ParseUnixRights(&messages[0])
	}
	if len(numbers) == 1 && flags&syscall.MSG_CTRUNC == 0 {
		return os.NewFile(uintptr(numbers[0]), "listener"), nil
	}
	for _, number := range numbers {
		syscall.Close(number)
	}
	return nil, errors.New("not one descriptor")
}

func serve(peer *net.UnixConn) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	file, err := receive(ctx, peer)
	if err != nil {
		return err
	}
	defer file.Close()
	listener, err := net.FileListener(file)
	if err != nil {
		return err
	}
	defer listener.Close()
	listener.(*net.TCPListener).SetDeadline(time.Now().Add(5 * time.Second))
	client, err := listener.Accept()
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Write([]byte("hello\n"))
	return err
}
