// SPDX-License-Identifier: Apache-2.0
import Foundation
import MessageSockets
import Testing

/// `msock activate`, `hold` and `notify`, as processes.
@Suite(.timeLimit(.minutes(2))) struct ServiceTests {
  // MARK: activate

  @Test func aProgramFindsItsListeners() throws {
    let address = abstractAddress()
    let ended = try bash(
      """
      "$MSOCK" activate --listen "$T/app:api" --listen \(address) -- sh -c '
        echo "$LISTEN_FDS $LISTEN_FDNAMES"; test "$LISTEN_PID" = $$ || exit 1
        exec "$MSOCK" inspect --fd 3 --fd 4 --fd 5'
      echo "$?"
      "$MSOCK" activate --listen "$T/app:api" -- "$MSOCK" inspect --fd 3 --json
      """)
    #expect(ended.lines.first == "2 api:unknown", "\(ended)")
    // There is no fifth descriptor.
    #expect(ended.lines.dropFirst().first == "66", "\(ended)")
    #expect(ended.errors.contains("descriptor 5 is not open"))
    #expect(ended.lines.last?.contains("unix stream socket") == true)
  }

  /// The listener belongs to the program: connections that came before it was ready are not lost,
  /// and on no driver is it `O_NONBLOCK`.
  @Test func aProgramServesFromItsListener() throws {
    let program = """
      import fcntl, os, socket
      assert not fcntl.fcntl(3, fcntl.F_GETFL) & os.O_NONBLOCK
      listener = socket.socket(fileno=3)
      for _ in range(2):
          connection, _ = listener.accept()
          connection.send(connection.recv(100).upper())
          connection.close()
      """
    let ended = try bash(
      """
      "$MSOCK" activate --listen "$T/app" -- python3 -c "$PROGRAM" &
      # The file is there when the socket is.
      until test -S "$T/app"; do :; done
      for text in one two; do
        until "$MSOCK" send --message "$text" --answer --to "$T/app" 2>/dev/null; do :; done
        echo
      done
      wait $!
      """, environment: ["PROGRAM": program])
    #expect(ended.status == 0, "\(ended)")
    #expect(ended.lines == ["ONE", "TWO"])
  }

  @Test func programsThatCannotBeRun() throws {
    let ended = try bash(
      """
      "$MSOCK" activate --listen "$T/app" -- /no/such/program; echo "$?"
      "$MSOCK" activate --listen "$T/app" -- /etc/passwd; echo "$?"
      "$MSOCK" activate --listen "$T/app"; echo "$?"
      ls "$T"
      """)
    #expect(ended.lines == ["127", "126", "64"], "\(ended)")
  }

  @Test func aProgramServesOverTCP() throws {
    let program = """
      import socket
      listener = socket.socket(fileno=3)
      print(listener.getsockname()[1], flush=True)
      connection, _ = listener.accept()
      connection.send(connection.recv(100).upper())
      """
    let ended = try bash(
      """
      "$MSOCK" activate --listen tcp:127.0.0.1:0:web -- python3 -c "$PROGRAM" >"$T/port" &
      until read -r port <"$T/port"; do :; done 2>/dev/null
      exec 9<>"/dev/tcp/127.0.0.1/$port"
      printf one >&9
      cat <&9
      echo
      wait $!
      echo "$?"
      "$MSOCK" activate --listen 'tcp:[::1]:0:web' --listen "$T/app" -- sh -c '
        echo "$LISTEN_FDS $LISTEN_FDNAMES"'
      """, environment: ["PROGRAM": program])
    #expect(ended.lines == ["ONE", "0", "2 web:unknown"], "\(ended)")
  }

  /// Listeners that were bound before a failure leave no file.
  @Test func placesWhereNothingCanListen() async throws {
    let taken = try TCPListener.bind(to: InternetAddress(.loopback as IPv4Address, port: 0))
    let ended = try bash(
      """
      activate() { "$MSOCK" activate --listen "$T/app" --listen "$1" -- true; echo "$?"; }
      activate "$T/no/such/directory"
      activate "tcp:$TAKEN"
      activate tcp:nonsense
      activate tcp:127.0.0.1:99999
      activate "$T/other:$(printf 'x%.0s' {1..256})"
      ls "$T"
      """, environment: ["TAKEN": "\(taken.address)"])
    #expect(ended.lines == ["73", "73", "64", "64", "64"], "\(ended)")
    await taken.close()
  }

  // MARK: hold

  @Test func whatIsHeldOutlivesTheProcessThatStoredIt() throws {
    let ended = try bash(
      """
      start hold "$T/held"
      echo kept >"$T/file"
      "$MSOCK" hold store "$T/held" pair --fd 5 5<"$T/file" /etc/passwd
      rm "$T/file"
      "$MSOCK" hold store "$T/held" pair /etc/passwd; echo "$?"
      "$MSOCK" hold list "$T/held" --json
      "$MSOCK" hold take "$T/held" pair -- sh -c 'echo "$LISTEN_FDS $LISTEN_FDNAMES"; cat <&4'
      "$MSOCK" hold take "$T/held" pair; echo "$?"
      "$MSOCK" hold list "$T/held" --json
      kill "$pid"; wait "$pid"; echo "$?"
      test -e "$T/held" || echo removed
      """)
    #expect(ended.lines.first == "1")
    #expect(ended.lines.count == 8, "\(ended)")
    #expect(
      ended.lines.dropFirst(2) == ["2 pair:pair", "kept", "1", "[]", "0", "removed"], "\(ended)")
    #expect(ended.lines[1].contains("\"name\":\"pair\""))
    #expect(ended.errors.contains("is held already"))
  }

  @Test func theHolderHasALimitAndOutlivesNonsense() throws {
    let ended = try bash(
      """
      start hold "$T/held" --limit 3
      "$MSOCK" send --message nonsense --to "$T/held" --seqpacket --answer; echo
      "$MSOCK" hold store "$T/held" two /etc/passwd /etc/passwd
      "$MSOCK" hold store "$T/held" three /etc/passwd /etc/passwd; echo "$?"
      "$MSOCK" hold store "$T/held" one /etc/passwd; echo "$?"
      "$MSOCK" hold store "$T/held" a:b /etc/passwd; echo "$?"
      "$MSOCK" hold store "$T/held" $'a\\nb' /etc/passwd; echo "$?"
      "$MSOCK" hold list "$T/held" | wc -l
      "$MSOCK" hold "$T/held"; echo "$?"
      """)
    #expect(
      ended.lines == ["{\"error\":\"not understood\"}", "1", "0", "64", "64", "4", "73"], "\(ended)"
    )
    #expect(ended.errors.contains("full: 3 descriptors"))
  }

  @Test func aHolderWhoseTimeIsUp() throws {
    let ended = try bash(
      """
      "$MSOCK" hold "$T/held" --timeout 0.1; echo "$?"
      ls "$T"
      """)
    #expect(ended.lines == ["75"], "\(ended)")
  }

  /// Longer than a message may be, so the list comes in several.
  @Test func manyAreListed() throws {
    let ended = try bash(
      """
      start hold "$T/held" --limit 506
      long="$T/$(printf 'x%.0s' {1..200})"
      touch "$long"
      files=()
      for _ in {1..253}; do files+=("$long"); done
      for name in one two; do "$MSOCK" hold store "$T/held" "$name" "${files[@]}"; done
      "$MSOCK" hold list "$T/held" | wc -l
      "$MSOCK" hold list "$T/held" --json >"$T/list"
      grep -o '"name"' "$T/list" | wc -l
      grep -o '"regular file"' "$T/list" | wc -l
      """)
    #expect(ended.lines == ["507", "2", "506"], "\(ended)")
  }

  /// The holder reports its actions, and continues when those reports are no longer read.
  @Test func theHolderSaysWhatItDoesAsLongAsSomebodyListens() throws {
    let ended = try bash(
      """
      mkfifo "$T/said"
      # The tests may have been started with the signal ignored.
      env --default-signal=PIPE "$MSOCK" hold "$T/held" 2>"$T/said" &
      pid=$!
      started+=("$pid")
      exec 8<"$T/said"
      read -r line <&8
      "$MSOCK" hold store "$T/held" one /etc/passwd
      "$MSOCK" hold take "$T/held" one
      for _ in 1 2; do read -r line <&8; echo "$line"; done
      exec 8<&-
      "$MSOCK" hold store "$T/held" two /etc/passwd
      "$MSOCK" hold list "$T/held" | wc -l
      kill "$pid"; wait "$pid"; echo "$?"
      """)
    #expect(
      ended.lines == [
        "msock: stored 'one': 1 of 512 descriptors are held", "msock: 'one' was taken", "2", "0",
      ], "\(ended)")
  }

  /// A client that leaves before it has confirmed the arrival has not taken the descriptors.
  @Test func whatDidNotArriveIsKept() throws {
    let client = """
      import os, socket, sys
      peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
      peer.connect(sys.argv[1])
      peer.send(b'{"operation":"take","name":"one"}')
      message, files, _, _ = socket.recv_fds(peer, 1000, 10)
      assert len(files) == 1, message
      """
    let ended = try bash(
      """
      start hold "$T/held"
      "$MSOCK" hold store "$T/held" one /etc/hostname
      python3 -c "$CLIENT" "$T/held" && echo gone
      until "$MSOCK" hold take "$T/held" one --cat 2>/dev/null; do :; done
      """, environment: ["CLIENT": client])
    #expect(ended.status == 0, "\(ended)")
    #expect(
      ended.lines == [
        "gone",
        try String(contentsOfFile: "/etc/hostname", encoding: .utf8).split(separator: "\n").map(
          String.init)[0],
      ])
  }

  /// Descriptors on their way to a client are still held: they count, their name is taken, and no
  /// other client gets them.
  @Test func whatIsBeingTakenIsStillHeld() throws {
    let client =
      Self.client + """
        take("two", 2)
        for words in (["store", "two", "/etc/passwd"], ["store", "more", "/etc/passwd", "/etc/passwd"],
                      ["take", "two"], ["store", "one", "/etc/passwd"]):
            print(msock(*words), flush=True)
        say("taken")
        print(msock("store", "two", "/etc/passwd", "/etc/passwd"), flush=True)
        """
    let ended = try bash(
      """
      start hold "$T/held" --limit 3
      "$MSOCK" hold store "$T/held" two /etc/hostname /etc/hostname
      python3 -c "$CLIENT" "$T/held"
      "$MSOCK" hold list "$T/held" | awk '{ print $1, $NF }'
      ls -l "/proc/$pid/fd" | grep -c hostname
      """, environment: ["CLIENT": client])
    #expect(
      ended.lines == [
        "1", "1", "1", "0", "0", "NAME TARGET", "one /etc/passwd", "two /etc/passwd",
        "two /etc/passwd", "0",
      ], "\(ended)")
    #expect(ended.errors.contains("'two' is being taken by another"), "\(ended)")
  }

  /// A client that makes the request and never reads does not keep them from others.
  @Test func aClientThatDoesNotReadTakesNothing() throws {
    let client =
      Self.client + """
        # As many answers as the kernel keeps for a client that does not read.
        answer = b'{"error":"not understood"}'
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ends[0].setblocking(False)
        count = 0
        try:
            while ends[0].send(answer): count += 1
        except BlockingIOError: pass
        for _ in range(count): peer.send(b"nonsense")
        peer.send(b'{"operation":"take","name":"one"}')
        # The holder has got all of that.
        while int.from_bytes(fcntl.ioctl(peer, termios.TIOCOUTQ, bytes(4)), sys.byteorder): time.sleep(0.01)
        while msock("take", "one") != 0: time.sleep(0.1)
        print("taken", flush=True)
        peer.settimeout(10)
        for _ in range(count): assert peer.recv(100) == answer
        assert peer.recv(100) == b"", "it was never sent"
        print("never sent", flush=True)
        """
    let ended = try bash(
      """
      start hold "$T/held"
      "$MSOCK" hold store "$T/held" one /etc/hostname
      python3 -c "$CLIENT" "$T/held" 2>"$T/said" || cat "$T/said"
      grep -c 'being taken by another' "$T/said" | sed 's/[1-9][0-9]*/some/'
      """, environment: ["CLIENT": client])
    #expect(ended.lines == ["taken", "never sent", "some"], "\(ended)")
  }

  /// A program that cannot be run takes nothing, and msock writes nothing to the descriptors that
  /// it would have got.
  @Test func aProgramThatCannotBeRunTakesNothing() throws {
    let ended = try bash(
      """
      start hold "$T/held"
      printf '#!/no/such/interpreter\\n' >"$T/script"
      chmod +x "$T/script"
      # So many that they replace all that msock has open itself.
      exec 5<>"$T/log"
      numbers=()
      for _ in {1..40}; do numbers+=(--fd 5); done
      "$MSOCK" hold store "$T/held" log "${numbers[@]}"
      for program in /no/such/program /etc/passwd "$T/script"; do
        "$MSOCK" hold take "$T/held" log -- "$program"; echo "$?"
        "$MSOCK" hold list "$T/held" | wc -l
      done
      wc -c <"$T/log"
      "$MSOCK" hold take "$T/held" log -- bash -c 'echo "$LISTEN_FDS"; echo written >&42'
      cat "$T/log"
      "$MSOCK" hold list "$T/held" | wc -l
      ls -l "/proc/$pid/fd" | grep -c log
      "$MSOCK" hold take "$T/held" log --cat -- true; echo "$?"
      """)
    #expect(
      ended.lines == [
        "127", "41", "126", "41", "127", "41", "0", "40", "written", "1", "0", "64",
      ], "\(ended)")
  }

  /// From the point of view of a program that speaks the holder's protocol.
  @Test func aClientThatBecomesAProgram() throws {
    let client =
      Self.client + """
        take("one", 1)
        say("becoming")
        say("keep")
        assert peer.recv(100) == b"", "kept, and hung up"
        print(msock("take", "one", "--cat"), flush=True)
        print(msock("store", "one", "/etc/hostname"), flush=True)
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        peer.connect(sys.argv[1])
        take("one", 1)
        say("becoming")
        peer.close()
        print(msock("take", "one"), flush=True)
        """
    let ended = try bash(
      """
      echo text >"$T/file"
      start hold "$T/held"
      "$MSOCK" hold store "$T/held" one "$T/file"
      python3 -c "$CLIENT" "$T/held"
      """, environment: ["CLIENT": client])
    #expect(ended.lines == ["text", "0", "0", "1"], "\(ended)")
    #expect(ended.errors.contains("nothing is held as 'one'"), "\(ended)")
  }

  private static let client = """
    import fcntl, json, os, socket, subprocess, sys, termios, time
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.connect(sys.argv[1])
    def say(operation):
        peer.send(json.dumps({"operation": operation}).encode())
    def take(name, count):
        peer.send(json.dumps({"operation": "take", "name": name}).encode())
        message, files, _, _ = socket.recv_fds(peer, 1000, 10)
        assert len(files) == count, message
        for file in files:
            os.close(file)
    def msock(command, *words):
        return subprocess.run([os.environ["MSOCK"], "hold", command, sys.argv[1], *words]).returncode

    """

  /// A holder without free descriptors reports that, and still gives out what it has.
  @Test func aHolderWithoutFreeDescriptors() throws {
    let ended = try bash(
      """
      limit=$(ulimit -Sn)
      ulimit -Sn 100
      start hold "$T/held"
      ulimit -Sn "$limit"
      files=()
      for _ in {1..60}; do files+=(/etc/passwd); done
      "$MSOCK" hold store "$T/held" one "${files[@]}"; echo "$?"
      "$MSOCK" hold store "$T/held" two "${files[@]}"; echo "$?"
      "$MSOCK" hold take "$T/held" one -- sh -c 'echo "$LISTEN_FDS"'
      "$MSOCK" hold list "$T/held" | wc -l
      """)
    #expect(ended.lines == ["0", "1", "60", "1"], "\(ended)")
    #expect(ended.errors.contains("not all of it arrived at the holder"), "\(ended)")
  }

  /// A connected client that sends nothing does not delay the holder's end.
  @Test func theHolderEndsAtOnce() throws {
    let ended = try bash(
      """
      start hold "$T/held"
      python3 -c '
      import json, os, socket, sys, time
      peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
      peer.connect(sys.argv[1])
      peer.send(json.dumps({"operation": "list"}).encode())
      assert peer.recv(100)
      start = time.monotonic()
      os.kill(int(sys.argv[2]), 15)
      peer.recv(100)
      print(time.monotonic() - start < 5)' "$T/held" "$pid"
      wait "$pid"; echo "$?"
      """)
    #expect(ended.lines == ["True", "0"], "\(ended)")
  }

  @Test func whatAnswersIsNoHolder() throws {
    let server = """
      import socket, sys
      listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
      listener.bind(sys.argv[1])
      listener.listen()
      print("listening", flush=True)
      for answer in (b"nonsense", b"[]", b"x" * 70000, b"{}"):
          peer, _ = listener.accept()
          peer.recv(1000)
          peer.send(answer)
          peer.close()
      """
    let ended = try bash(
      """
      exec 8< <(exec python3 -c "$SERVER" "$T/other")
      read -r _ <&8
      "$MSOCK" hold list "$T/other"; echo "$?"
      "$MSOCK" hold store "$T/other" one /etc/passwd; echo "$?"
      "$MSOCK" hold list "$T/other"; echo "$?"
      "$MSOCK" hold take "$T/other" one -- true; echo "$?"
      start receive "$T/stream" --count 0
      "$MSOCK" hold list "$T/stream"; echo "$?"
      "$MSOCK" hold "$T/none" --limit 0; echo "$?"
      """, environment: ["SERVER": server])
    #expect(ended.lines == ["65", "65", "65", "65", "65", "64"], "\(ended)")
    #expect(ended.errors.contains("no holder"))
    #expect(!ended.errors.contains("--seqpacket"), "\(ended)")
  }

  // MARK: notify

  @Test func theServiceManagerIsTold() async throws {
    let name = abstractAddress()
    let manager = try UnixDatagram.bind(to: try UnixAddress(abstract: String(name.dropFirst())))
    let script = """
      "$MSOCK" notify READY=1 'STATUS=at work'; echo "$?"
      "$MSOCK" notify FDSTORE=1 FDNAME=file --fd 5 5</etc/passwd; echo "$?"
      """
    async let ended = inBackground { try bash(script, environment: ["NOTIFY_SOCKET": name]) }
    let ready = try #require(try await manager.receiveMessage())
    #expect(String(decoding: ready.payload, as: UTF8.self) == "READY=1\nSTATUS=at work")
    // It waits until the manager has closed its end of the pipe.
    #expect(
      try await manager.receiveMessage().map { String(decoding: $0.payload, as: UTF8.self) }
        == "BARRIER=1")
    let stored = try #require(try await manager.receiveMessage())
    #expect(String(decoding: stored.payload, as: UTF8.self) == "FDSTORE=1\nFDNAME=file")
    #expect(stored.descriptorCount == 1)
    #expect(try await manager.receiveMessage()?.descriptorCount == 1)
    #expect(try await ended.lines == ["0", "0"])
    await manager.close()
  }

  @Test func aServiceManagerThatDoesNotAnswer() async throws {
    let name = abstractAddress()
    let manager = try UnixDatagram.bind(to: try UnixAddress(abstract: String(name.dropFirst())))
    let script = """
      "$MSOCK" notify READY=1 --timeout 0.1; echo "$?"
      "$MSOCK" notify READY=1 --no-wait; echo "$?"
      """
    let ended = try bash(script, environment: ["NOTIFY_SOCKET": name])
    #expect(ended.lines == ["75", "0"], "\(ended)")
    await manager.close()
  }

  @Test func withoutAServiceManager() throws {
    let ended = try bash(
      """
      "$MSOCK" notify READY=1; echo "$?"
      NOTIFY_SOCKET=vsock:2:1 "$MSOCK" notify READY=1; echo "$?"
      NOTIFY_SOCKET=\(abstractAddress()) "$MSOCK" notify READY=1; echo "$?"
      "$MSOCK" notify READY; echo "$?"
      """)
    #expect(ended.lines == ["69", "69", "69", "64"], "\(ended)")
  }
}
