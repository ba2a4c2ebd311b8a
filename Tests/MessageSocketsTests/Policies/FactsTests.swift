// SPDX-License-Identifier: Apache-2.0
import CTestDescriptors
import Glibc
import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine

extension KernelTests {
  /// What can be found out about a descriptor without waiting.
  @Suite struct Facts {
    @Test func eachKindIsTold() async throws {
      try await withDescriptorOracle { _ in
        func expect(
          _ descriptor: borrowing OwnedFd, _ kind: DescriptorKind, _ access: DescriptorAccess,
          _ seals: FileSeals? = nil
        ) {
          let facts = descriptor.facts
          #expect(facts == DescriptorFacts(kind: kind, access: access, seals: seals))
        }
        expect(try .openFile("/etc/passwd"), .regularFile, .read)
        expect(try .numbered(1), .regularFile, [.read, .write])
        expect(try .openFile("/proc/self/status"), .regularFile, .read)
        expect(try .openFile("/"), .directory, .read)
        expect(try .pathOnly("/"), .directory, .pathOnly)
        expect(try .pathOnly("/etc/passwd"), .regularFile, .pathOnly)
        expect(try .openFile("/dev/null", O_WRONLY), .characterDevice(major: 1, minor: 3), .write)
        // Opened neither for reading nor for writing, but for ioctl(2).
        expect(try .openFile("/dev/null", O_ACCMODE), .characterDevice(major: 1, minor: 3), [])
        let file = try OwnedFd.numbered(2)
        let path = file.withUnsafeFileDescriptor { "/proc/self/fd/\($0.rawValue)" }
        expect(try .openFile(path, O_ACCMODE), .regularFile, [])
        expect(try .fifo(), .pipe, .read)
        expect(try Pipe().takeWriter(), .pipe, .write)
        expect(try .socket(1, 5), .socket(family: 1, type: 5), [.read, .write])
        expect(try .socket(2, 1), .socket(family: 2, type: 1), [.read, .write])
        expect(try .memoryFile(), .memoryFile, [.read, .write], [])
        expect(try .memoryFile(sealed: 0x6), .memoryFile, [.read, .write], [.shrink, .grow])
        expect(try .event(), .kernelObject("eventfd"), [.read, .write])
        expect(try .made(ctd_epoll()), .kernelObject("eventpoll"), [.read, .write])
        expect(try .made(ctd_inotify()), .kernelObject("inotify"), .read)
        expect(try .openFile("/proc/self/ns/net"), .kernelObject("net"), .read)
        expect(try .made(ctd_pidfd(getpid())), .kernelObject("pidfd"), [.read, .write])
      }
    }

    @Test func rulesAdmitWhatTheySay() {
      let readOnly = DescriptorFacts(kind: .regularFile, access: .read)
      let writable = DescriptorFacts(kind: .regularFile, access: [.read, .write])
      let named = DescriptorFacts(kind: .regularFile, access: .pathOnly)
      let memory = DescriptorFacts(kind: .memoryFile, access: [.read, .write], seals: [.shrink])
      func violation(_ rules: [AllowedDescriptor]?, _ facts: DescriptorFacts) -> RefusedDescriptor
        .Reason?
      {
        ReceivePolicy(allowed: rules).violation(by: facts)
      }
      #expect(violation(nil, named) == nil)
      #expect(violation([], readOnly) == .kind)
      #expect(violation([.regularFile], readOnly) == nil)
      #expect(violation([.regularFile], named) == .access)
      #expect(violation([.regularFile.requiring(.pathOnly)], named) == nil)
      #expect(violation([.regularFile.requiring(.pathOnly)], readOnly) == .access)
      #expect(violation([.regularFile.forbidding(.write)], writable) == .access)
      #expect(violation([.regularFile.forbidding(.write)], readOnly) == nil)
      #expect(violation([.any.requiring(.write)], readOnly) == .access)
      #expect(violation([.any], DescriptorFacts(kind: .unknown, access: .read)) == nil)
      #expect(violation([.memoryFile()], memory) == nil)
      #expect(violation([.memoryFile(sealed: [.shrink])], memory) == nil)
      #expect(violation([.memoryFile(sealed: [.shrink, .grow])], memory) == .seals)
      #expect(violation([.pipe, .memoryFile(sealed: [.grow])], memory) == .seals)
      #expect(violation([.memoryFile(sealed: [.grow]), .memoryFile()], memory) == nil)
      let control = DescriptorFacts(kind: .regularFile, access: [])
      #expect(violation([.regularFile.requiring(.read)], control) == .access)
      #expect(violation([.regularFile.requiring(.write)], control) == .access)
      #expect(violation([.regularFile.requiring([.read, .write])], control) == .access)
      #expect("\(control)" == "regular file (neither read nor write)")
      let null = DescriptorFacts(kind: .characterDevice(major: 1, minor: 3), access: .read)
      #expect(violation([.characterDevice(major: 1, minor: 3)], null) == nil)
      #expect(violation([.characterDevice(major: 1, minor: 5), .blockDevice], null) == .kind)
      #expect(violation([.characterDevice], null) == nil)
      let stream = DescriptorFacts(kind: .socket(family: 1, type: 1), access: [.read, .write])
      #expect(violation([.socket()], stream) == nil)
      #expect(violation([.socket(family: .unix, kind: .stream)], stream) == nil)
      #expect(violation([.socket(family: .internetV4), .socket(kind: .datagram)], stream) == .kind)
      #expect(
        violation(
          [.kernelObject("eventfd")], DescriptorFacts(kind: .kernelObject("pidfd"), access: .read))
          == .kind)
    }
  }
}
