// SPDX-License-Identifier: Apache-2.0
// A foreign peer for the tests: passes open files over a Unix socket with Go's net.UnixConn.
// Its arguments, files and verdict are those of fd_peer.py:
//
//	fd_peer KIND send|receive ADDRESS MESSAGES DESCRIPTORS
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) != 6 {
		fail("usage: fd_peer KIND send|receive ADDRESS MESSAGES DESCRIPTORS")
	}
	network := map[string]string{"stream": "unix", "seqpacket": "unixpacket"}[os.Args[1]]
	connection, err := net.DialUnix(network, nil, &net.UnixAddr{Name: os.Args[3], Net: network})
	check(err)
	// The process ends even if the other side does not respond.
	check(connection.SetDeadline(time.Now().Add(30 * time.Second)))
	messages, err := strconv.Atoi(os.Args[4])
	check(err)
	descriptors, err := strconv.Atoi(os.Args[5])
	check(err)
	if os.Args[2] == "send" {
		send(connection, messages, descriptors)
	} else {
		receive(connection, messages, descriptors)
	}
}

func send(connection *net.UnixConn, messages, descriptors int) {
	expected := []string{"ok"}
	for message := 0; message < messages; message++ {
		var files []*os.File
		var numbers []int
		for file := 0; file < descriptors; file++ {
			opened := makeFile(contents(message, file))
			files = append(files, opened)
			numbers = append(numbers, int(opened.Fd()))
			expected = append(expected, identity(int(opened.Fd())))
		}
		payload := []byte(fmt.Sprintf("message %d", message))
		sent, _, err := connection.WriteMsgUnix(payload, syscall.UnixRights(numbers...), nil)
		check(err)
		if sent != len(payload) {
			fail("sent only a part")
		}
		// Messages in flight keep their own references to the files.
		for _, file := range files {
			check(file.Close())
		}
	}
	check(connection.CloseWrite())
	verdict := make([]byte, 65536)
	count, err := connection.Read(verdict)
	check(err)
	if string(verdict[:count]) != strings.Join(expected, " ") {
		fail("the verdict is " + string(verdict[:count]))
	}
}

func receive(connection *net.UnixConn, messages, descriptors int) {
	verdict := []string{"ok"}
	for message := 0; message < messages; message++ {
		payload := make([]byte, 1024)
		control := make([]byte, syscall.CmsgSpace(4*253))
		count, controlCount, flags, _, err := connection.ReadMsgUnix(payload, control)
		check(err)
		if string(payload[:count]) != fmt.Sprintf("message %d", message) || flags&(syscall.MSG_TRUNC|syscall.MSG_CTRUNC) != 0 {
			fail(fmt.Sprintf("the payload is %q, the flags are %#x", payload[:count], flags))
		}
		kinds, err := syscall.ParseSocketControlMessage(control[:controlCount])
		check(err)
		var numbers []int
		for _, kind := range kinds {
			rights, err := syscall.ParseUnixRights(&kind)
			check(err)
			numbers = append(numbers, rights...)
		}
		if len(numbers) != descriptors {
			fail(fmt.Sprintf("%d descriptors instead of %d", len(numbers), descriptors))
		}
		for file, number := range numbers {
			text := make([]byte, 1024)
			length, err := syscall.Pread(number, text, 0)
			check(err)
			if string(text[:length]) != contents(message, file) {
				fail(fmt.Sprintf("descriptor %d leads elsewhere", file))
			}
			verdict = append(verdict, identity(number))
			check(syscall.Close(number))
		}
	}
	_, err := connection.Write([]byte(strings.Join(verdict, " ")))
	check(err)
}

func contents(message, file int) string { return fmt.Sprintf("message %d file %d\n", message, file) }

func makeFile(text string) *os.File {
	file, err := os.CreateTemp("", "message-sockets-")
	check(err)
	check(os.Remove(file.Name()))
	_, err = file.WriteString(text)
	check(err)
	return file
}

func identity(number int) string {
	var status syscall.Stat_t
	check(syscall.Fstat(number, &status))
	return fmt.Sprintf("%d:%d", status.Dev, status.Ino)
}

func check(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func fail(reason string) {
	fmt.Fprintln(os.Stderr, reason)
	os.Exit(1)
}
