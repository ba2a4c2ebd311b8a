// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Glibc
import MessageSockets
import SystemPackage
import Testing

extension KernelTests {
  /// The file that bind(2) creates, and what happens to it later.
  @Suite struct Binding {
    // MARK: Permissions

    @Test(arguments: [0o000, 0o022, 0o077] as [mode_t])
    func permissionsAreThoseThatWereAskedForWhateverTheUmask(mask: mode_t) async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let before = umask(mask)
          defer { umask(before) }
          for bits in [0o600, 0o660, 0o666, 0o755] as [mode_t] {
            let binding = UnixBinding(permissions: FilePermissions(rawValue: bits))
            let listener = try UnixListener<UnixStream>.bind(
              to: UnixAddress(path: path), binding: binding)
            #expect(permissions(of: path) == bits)
            await listener.close()
            let socket = try UnixDatagram.bind(to: UnixAddress(path: path), binding: binding)
            #expect(permissions(of: path) == bits)
            await socket.close()
          }
          #expect(umask(mask) == mask, "the umask is the process's")
        }
      }
    }

    @Test func byDefaultOnlyTheUserHasAccess() async throws {
      try await withTemporaryPath { path in
        let listener = try UnixListener<UnixSeqpacket>.bind(to: UnixAddress(path: path))
        #expect(permissions(of: path) == 0o600)
        await listener.close()
      }
    }

    /// Another thread checks the permissions all the time.
    @Test func theFileNeverHasMorePermissions() async throws {
      try await withTemporaryPath { path in
        let before = umask(0)
        defer { umask(before) }
        let watching = Task.detached {
          var seen: Set<mode_t> = []
          while !Task.isCancelled { if let bits = permissions(of: path) { seen.insert(bits) } }
          return seen
        }
        try await withDescriptorOracle { _ in
          for _ in 0..<2000 {
            let listener = try UnixListener<UnixStream>.bind(to: UnixAddress(path: path))
            await listener.close()
          }
        }
        watching.cancel()
        #expect(await watching.value.subtracting([0o600]) == [])
      }
    }

    // MARK: Existing files

    @Test func theFileOfADeadSocketIsReplaced() async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let address = try UnixAddress(path: path)
          for type in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
            _ = try OwnedFd.boundSocket(type, path)
            let dead = try #require(inode(of: path))
            #expect(
              await codeThrown {
                _ = try UnixDatagram.bind(
                  to: address, binding: UnixBinding(replacesStaleFile: false))
              } == .addressInUse)
            #expect(inode(of: path) == dead)
            let listener = try UnixListener<UnixStream>.bind(to: address)
            let client = try await UnixStream.connect(to: address)
            _ = try await listener.accept()
            await client.close()
            await listener.close()
            _ = try OwnedFd.boundSocket(type, path)
            let socket = try UnixDatagram.bind(to: address)
            try await UnixDatagram().sendMessage([1], to: address)
            #expect(try await socket.receiveMessage()?.payload == [1])
          }
          #expect(!exists(path.string + ".message-sockets-lock"))
        }
      }
    }

    @Test func theFileOfALiveSocketIsLeftAlone() async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let address = try UnixAddress(path: path)
          // A socket that does not listen yet counts as live too.
          for type in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
            let live = try OwnedFd.boundSocket(type, path)
            let file = inode(of: path)
            try await expectRefusal(at: address, because: "a process is bound to it")
            #expect(inode(of: path) == file)
            _ = consume live
            unlink(path.string)
          }
          let listener = try UnixListener<UnixStream>.bind(to: address)
          try await expectRefusal(at: address, because: "a process is bound to it")
          async let client = UnixStream.connect(to: address)
          // The first accepted connection is the client's: checking whether the listener is alive
          // made no connection.
          let connection = try await listener.accept()
          try await client.sendMessage([7])
          #expect(try await connection.receiveMessage()?.payload == [7])
          await listener.close()
        }
      }
    }

    @Test func whatIsNoSocketIsLeftAlone() async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let address = try UnixAddress(path: path)
          let target = path.string + ".target"
          let makers: [() throws -> Void] = [
            { _ = try OwnedFd.openFile(path.string, O_CREAT | O_RDWR) },
            { mkfifo(path.string, 0o600) },
            { mkdir(path.string, 0o700) },
            {
              _ = try OwnedFd.boundSocket(SOCK_STREAM, FilePath(target))
              symlink(target, path.string)
            },
          ]
          for make in makers {
            try make()
            let file = try #require(inode(of: path))
            try await expectRefusal(at: address, because: "is not a socket")
            #expect(inode(of: path) == file)
            remove(path.string)
          }
          #expect(exists(target))
          unlink(target)
          #expect(!exists(path.string + ".message-sockets-lock"))
        }
      }
    }

    @Test func ofManyThatReplaceADeadSocketOneWins() async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { loop in
          let address = try UnixAddress(path: path)
          for _ in 0..<100 {
            _ = try OwnedFd.boundSocket(SOCK_STREAM, path)
            let listeners = await withTaskGroup(
              of: Result<UnixListener<UnixStream>, any Error>.self
            ) { group in
              for _ in 0..<8 {
                // Off the loop, so that they run concurrently.
                group.addTask(executorPreference: globalConcurrentExecutor) {
                  Result { try UnixListener<UnixStream>.bind(to: address, on: loop) }
                }
              }
              return await group.reduce(into: []) { $0.append($1) }
            }
            let winners = listeners.compactMap { try? $0.get() }
            #expect(winners.count == 1)
            for case .failure(let error) in listeners {
              #expect((error as? SocketError)?.code == .addressInUse)
            }
            let client = try await UnixStream.connect(to: address)
            await client.close()
            for winner in winners { await winner.close() }
          }
          #expect(!exists(path.string + ".message-sockets-lock"))
        }
      }
    }

    @Test func whoHoldsTheLockIsAloneAndALockThatWasLeftIsUsed() async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let address = try UnixAddress(path: path)
          _ = try OwnedFd.boundSocket(SOCK_STREAM, path)
          let lock = try OwnedFd.openFile(path.string + ".message-sockets-lock", O_CREAT | O_RDWR)
          #expect(lock.withUnsafeFileDescriptor { flock($0.rawValue, LOCK_EX) } == 0)
          try await expectRefusal(at: address, because: "another process is replacing it")
          try lock.close()
          let listener = try UnixListener<UnixStream>.bind(to: address)
          await listener.close()
          #expect(!exists(path.string + ".message-sockets-lock"))
        }
      }
    }

    /// PostgreSQL has a lock file `.lock` beside its socket, which contains a process ID.
    @Test(arguments: [".lock", ".message-sockets-lock"]) func aFileThatIsNoLockIsLeftAlone(
      suffix: String
    ) async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          _ = try OwnedFd.boundSocket(SOCK_STREAM, path)
          let foreign = path.string + suffix
          do {
            let file = try OwnedFd.openFile(foreign, O_CREAT | O_RDWR)
            #expect(file.withUnsafeFileDescriptor { write($0.rawValue, "4711\n", 5) } == 5)
          }
          let inodeBefore = inode(of: FilePath(foreign))
          let address = try UnixAddress(path: path)
          if suffix == ".lock" {
            await (try UnixListener<UnixStream>.bind(to: address)).close()
          } else {
            try await expectRefusal(at: address, because: "is not an empty file")
          }
          #expect(inodeBefore != nil && inode(of: FilePath(foreign)) == inodeBefore)
          unlink(foreign)
        }
      }
    }

    // MARK: The end

    @Test func theFileGoesWithTheSocket() async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let address = try UnixAddress(path: path)
          let listener = try UnixListener<UnixStream>.bind(to: address)
          await listener.close()
          #expect(!exists(path.string))
          // The socket is dropped.
          _ = try UnixListener<UnixStream>.bind(to: address)
          #expect(!exists(path.string))
          _ = try UnixDatagram.bind(to: address)
          #expect(!exists(path.string))
          // The socket is given away.
          let socket = try UnixDatagram.bind(to: address)
          _ = try await socket.release()
          #expect(exists(path.string))
          // The file is to be kept.
          let kept = try UnixListener<UnixStream>.bind(
            to: address, binding: UnixBinding(removesFile: false))
          await kept.close()
          #expect(exists(path.string))
        }
      }
    }

    @Test func anotherFileThatTookThePlaceStays() async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let address = try UnixAddress(path: path)
          let first = try UnixListener<UnixStream>.bind(to: address)
          unlink(path.string)
          let second = try UnixListener<UnixStream>.bind(to: address)
          await first.close()
          let client = try await UnixStream.connect(to: address)
          await client.close()
          await second.close()
          #expect(!exists(path.string))
        }
      }
    }

    private func expectRefusal(at address: UnixAddress, because reason: String) async throws {
      let error = #expect(throws: SocketError.self) {
        _ = try UnixListener<UnixStream>.bind(to: address)
      }
      #expect(error?.code == .addressInUse)
      #expect(error?.address == AnySocketAddress(address))
      #expect(
        error?.detail?.contains(reason) == true, "\(error.map(String.init(describing:)) ?? "")")
    }
  }
}

private func status(of path: String) -> stat? {
  var status = stat()
  return lstat(path, &status) == 0 ? status : nil
}

private func permissions(of path: FilePath) -> mode_t? {
  status(of: path.string).map { $0.st_mode & 0o7777 }
}
private func inode(of path: FilePath) -> ino_t? { status(of: path.string)?.st_ino }
private func exists(_ path: String) -> Bool { status(of: path) != nil }

extension OwnedFd {
  /// Makes a socket bound to a path without this package.
  fileprivate static func boundSocket(_ type: __socket_type, _ path: FilePath) throws -> OwnedFd {
    let number = Glibc.socket(AF_UNIX, Int32(type.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    try #require(number >= 0)
    let owned = OwnedFd(adopting: FileDescriptor(rawValue: number))
    let name = AnySocketAddress(try UnixAddress(path: path)).bytes
    let result = name.withUnsafeBytes { bytes in
      bind(
        number, bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
    }
    try #require(result == 0)
    return owned
  }
}
