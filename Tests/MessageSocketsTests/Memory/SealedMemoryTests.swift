// SPDX-License-Identifier: Apache-2.0
import CProcessRestrictions
import CTestDescriptors
import Glibc
import MessageSockets
import SystemPackage
import Testing

@testable import SharedMemory

extension KernelTests {
  @Suite(.timeLimit(.minutes(1))) struct SealedMemories {
    // MARK: Making

    @Test func memoryIsFilledInPlaceSealedAndSent() async throws {
      try await withMemoryOracle {
        let (left, right) = try UnixSeqpacket.makePair()
        var memory = try MutableMemory(byteCount: 10_000, name: "frame")
        fill(&memory) { UInt8(truncatingIfNeeded: $0) }
        let sent = try memory.sealed()
        #expect(sent.byteCount == 10_000)
        try await left.sendMessage([1], descriptor: sent.descriptor)

        let message = try #require(try await right.receiveMessage())
        let file = try message.requireDescriptor()
        let identity = file.identity
        #expect(identity == sent.descriptor.identity)
        let received = try SealedMemory(adopting: file, requiring: [.grow, .seal], atMost: 10_000)
        let isWhole = isFilled(received.bytes) { UInt8(truncatingIfNeeded: $0) }
        #expect(isWhole)
        #expect(received.byteCount == 10_000)
        await left.close()
        await right.close()
      }
    }

    @Test func sealedMemoryCannotBeChangedInAnyWay() async throws {
      try await withMemoryOracle {
        let memory = try MutableMemory(byteCount: 4096).sealed()
        let seals = memory.descriptor.facts.seals
        #expect(seals?.isSuperset(of: [.seal, .shrink, .grow, .write]) == true)
        memory.descriptor.withUnsafeFileDescriptor { file in
          let number = file.rawValue
          #expect(pwrite(number, [1], 1, 0) == -1 && errno == EPERM)
          #expect(ftruncate(number, 0) == -1 && errno == EPERM)
          #expect(ftruncate(number, 8192) == -1 && errno == EPERM)
          let mapped = mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, number, 0)
          #expect(mapped == MAP_FAILED && errno == EPERM)
          #expect(ctd_add_seals(number, 0x10) == -EPERM)
        }
      }
    }

    /// The seal shows whether `MFD_NOEXEC_SEAL` was used, which Linux has since 6.3.
    @Test func memoryCannotBeExecuted() async throws {
      try await withMemoryOracle {
        let memory = try MutableMemory(byteCount: 1).sealed()
        let mode = memory.descriptor.mode
        let seals = try #require(memory.descriptor.facts.seals)
        #expect(seals.contains(.executable) == (mode & 0o111 == 0))
        #expect(mode & 0o111 == 0 || !Self.hasExecutableSeal)
      }
    }

    /// On a kernel that does not know the flag, omitting it without a replacement would also forbid
    /// sealing.
    @Test func memoryIsSealedWhereTheFlagIsNotKnown() async {
      await #expect(processExitsWith: .exitCode(7)) {
        guard cpr_refuse_noexec_seal() == 0 else { exit(1) }
        let memory = try MutableMemory(byteCount: 1).sealed()
        let seals = memory.descriptor.facts.seals
        let isSealed = seals?.isSuperset(of: [.seal, .shrink, .grow, .write]) == true
        // The flag was not used.
        exit(isSealed && seals?.contains(.executable) == false ? 7 : 2)
      }
    }

    private static let hasExecutableSeal: Bool = {
      var system = utsname()
      uname(&system)
      let release = withUnsafeBytes(of: &system.release) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      let numbers = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
      return numbers.count == 2 && (numbers[0], numbers[1]) >= (6, 3)
    }()

    @Test func aPrefixIsKeptAndTheRestIsFreed() async throws {
      try await withMemoryOracle {
        var memory = try MutableMemory(byteCount: 100_000)
        fill(&memory) { _ in 7 }
        let sealed = try memory.sealed(prefix: 5)
        #expect(sealed.byteCount == 5)
        #expect(sealed.descriptor.size == 5)
        let isWhole = isFilled(sealed.bytes) { _ in 7 }
        #expect(isWhole)
      }
    }

    @Test func memoryOfNoBytes() async throws {
      try await withMemoryOracle {
        var memory = try MutableMemory(byteCount: 0)
        let size = memory.bytes.byteCount
        #expect(size == 0)
        let received = try SealedMemory(
          adopting: try memory.sealed().releaseDescriptor(), atMost: 0)
        let none = try received.elements(of: UInt64.self)
        #expect(received.byteCount == 0 && none.count == 0)
        let noBytes = received.bytes.byteCount
        #expect(noBytes == 0)
        let copied = try SealedMemory(copying: try .memory(of: 0, sealed: 0), atMost: 0)
        #expect(copied.byteCount == 0)
      }
    }

    @Test func namesAreShownAndChecked() async throws {
      try await withMemoryOracle {
        let longest = String(repeating: "n", count: 249)
        let memory = try MutableMemory(byteCount: 1, name: longest).sealed()
        let shown = memory.descriptor.shownName
        #expect(shown.hasPrefix("/memfd:nnn"))
        for name in [longest + "n", "a\0b"] {
          let error = memoryError { _ = try MutableMemory(byteCount: 1, name: name) }
          #expect(error?.code == .invalidName)
        }
      }
    }

    /// A duplicate that is mapped for writing elsewhere prevents sealing: that is an error, and the
    /// memory is freed.
    @Test func aFileThatIsWrittenElsewhereCannotBeSealed() async throws {
      try await withMemoryOracle {
        let memory = try MutableMemory(byteCount: 4096, name: "elsewhere")
        let number = try #require(openDescriptors().first { $0.value.contains("elsewhere") }?.key)
        let other = try #require(mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, number, 0))
        try #require(other != MAP_FAILED)
        let error = MemoryError.ofSealing(memory)
        #expect(error?.code == .stillWritable)
        #expect(error?.errno == .resourceBusy)
        munmap(other, 4096)
      }
    }

    @Test func bytesAreCopiedOnce() async throws {
      try await withMemoryOracle {
        let bytes = (0..<100).map { UInt8($0) }
        let memory = try SealedMemory(copying: bytes.span.bytes, name: "bytes")
        let isWhole = isFilled(memory.bytes) { UInt8($0) }
        #expect(isWhole)
        #expect(memory.byteCount == 100)
      }
    }

    // MARK: Receiving

    @Test func missingSealsAreNamed() async throws {
      try await withMemoryOracle {
        func missing(_ seals: Int32, requiring required: FileSeals = []) throws -> FileSeals? {
          let file = try OwnedFd.memory(of: 10, sealed: seals)
          let error = MemoryError.of(file, requiring: required)
          #expect(error == nil || error?.code == .missingSeals)
          return error?.missing
        }
        #expect(try missing(0) == [.write, .shrink])
        #expect(try missing(0x2) == [.write])
        #expect(try missing(0x8) == [.shrink])
        #expect(try missing(0xA) == nil)
        #expect(try missing(0xA, requiring: [.grow, .seal]) == [.grow, .seal])
        #expect(try missing(0xF, requiring: [.grow, .seal]) == nil)
        // The kernel adds this seal while a writable mapping exists, which can still write, so it
        // is no replacement.
        #expect(try missing(0x16) == [.write])
        let error = MemoryError.of(try .memory(of: 10, sealed: 0))
        #expect("\(try #require(error))".contains("not sealed against shrink, write"))
      }
    }

    @Test func otherDescriptorsAreNoMemory() async throws {
      try await withMemoryOracle {
        for make in [
          { try OwnedFd.openFile("/etc/passwd") }, { try OwnedFd.openFile("/dev/zero") },
          { try OwnedFd.openFile("/") }, { try OwnedFd.socket(1, 1) }, { try OwnedFd.event() },
          { try OwnedFd.fifo() }, { try OwnedFd.pathOnly("/etc/passwd") },
          { try OwnedFd.openFile("/proc/self/maps") },
        ] {
          let error = MemoryError.of(try make())
          // A file of an in-memory file system has F_SEAL_SEAL.
          #expect(error?.code == .notMemory || error?.code == .missingSeals, "\(error as Any)")
          #expect(error?.facts != nil)
        }
        let writeOnly = try OwnedFd.memory(of: 10, sealed: 0xF).reopened(O_WRONLY)
        let unreadable = MemoryError.of(writeOnly)
        #expect(unreadable?.code == .notReadable)
        let named = try OwnedFd.memory(of: 10, sealed: 0xF).reopened(0x200000)
        let unopened = MemoryError.of(named)
        #expect(unopened != nil)
      }
    }

    @Test func sizesAboveTheLimitAreRefused() async throws {
      try await withMemoryOracle {
        let error = MemoryError.of(try .memory(of: 101, sealed: 0xF), atMost: 100)
        #expect(error?.code == .tooLarge)
        #expect(error?.actual == 101)
        #expect(error?.limit == 100)
        let exact = MemoryError.of(try .memory(of: 100, sealed: 0xF), atMost: 100)
        #expect(exact == nil)
        // Holes cost the peer nothing. The address space of a process is smaller than the largest
        // file.
        let most = Int64.max
        let huge = MemoryError.of(try .memory(of: most, sealed: 0xF), atMost: 1 << 40)
        #expect(huge?.code == .tooLarge)
        let unlimited = MemoryError.of(try .memory(of: most, sealed: 0xF), atMost: .max)
        #expect(unlimited?.code == .system)
        #expect(unlimited?.errno == .noMemory || unlimited?.errno == .overflow)
      }
    }

    /// Seals added after the check change nothing, because seals cannot be removed.
    @Test func sealsThatComeLaterAreNoHarm() async throws {
      try await withMemoryOracle {
        let file = try OwnedFd.memory(of: 5000, sealed: 0xA)
        let peers = try file.duplicate()
        let memory = try SealedMemory(adopting: file, atMost: 5000)
        peers.withUnsafeFileDescriptor {
          #expect(ftruncate($0.rawValue, 10_000) == 0)
          #expect(ctd_add_seals($0.rawValue, 0x5) == 0)
        }
        #expect(memory.byteCount == 5000)
        let isWhole = isFilled(memory.bytes) { _ in 0 }
        #expect(isWhole)
      }
    }

    @Test(.enabled(if: HugePages.canBeHad, "the pool of huge pages cannot be raised"))
    func hugePages() async throws {
      try await HugePages.withPool(of: 4) {
        try await withMemoryOracle {
          let size = 4 << 20
          var memory = try MutableMemory(byteCount: size, pages: .huge2MiB)
          fill(&memory) { UInt8(truncatingIfNeeded: $0 >> 12) }
          let sealed = try memory.sealed()
          let refused = MemoryError.of(try sealed.descriptor.duplicate(), atMost: size)
          #expect(refused?.code == .hugePages)
          let copied = try SealedMemory(
            adoptingOrCopying: try sealed.descriptor.duplicate(), atMost: size)
          let admitted = try SealedMemory(
            adopting: try sealed.descriptor.duplicate(), atMost: size, admitsHugePages: true)
          let copyIsWhole = isFilled(copied.bytes) { UInt8(truncatingIfNeeded: $0 >> 12) }
          let isWhole = isFilled(admitted.bytes) { UInt8(truncatingIfNeeded: $0 >> 12) }
          #expect(copyIsWhole && isWhole)
          // Two of them, and two that a third file would need, use up the pool.
          let crooked = memoryError { _ = try MutableMemory(byteCount: 4097, pages: .huge2MiB) }
          #expect(crooked?.errno == .invalidArgument)
          let excess = try HugePages.tooMany
          let tooMany = memoryError { _ = try MutableMemory(byteCount: excess, pages: .huge2MiB) }
          #expect(tooMany?.code == .system)
        }
      }
    }

    // MARK: Copying

    @Test func whatIsNotSealedIsCopied() async throws {
      try await withMemoryOracle {
        let file = try OwnedFd.memory(of: 5000, sealed: 0)
        file.withUnsafeFileDescriptor {
          _ = pwrite($0.rawValue, [UInt8](repeating: 9, count: 5000), 5000, 0)
        }
        let peers = try file.duplicate()
        let copy = try SealedMemory(adoptingOrCopying: file, atMost: 5000)
        // From now on the peer can do anything.
        peers.withUnsafeFileDescriptor { #expect(ftruncate($0.rawValue, 0) == 0) }
        let isWhole = isFilled(copy.bytes) { _ in 9 }
        #expect(isWhole)
        #expect(copy.byteCount == 5000)

        let passwords = try SealedMemory(
          adoptingOrCopying: try .openFile("/etc/passwd"), atMost: 1 << 20)
        #expect(passwords.byteCount > 0)
        let sealed = try MutableMemory(byteCount: 10).sealed()
        let identity = sealed.descriptor.identity
        let mapped = try SealedMemory(adoptingOrCopying: sealed.releaseDescriptor(), atMost: 10)
        #expect(mapped.descriptor.identity == identity)
      }
    }

    @Test func whatCannotBeCopiedIsRefused() async throws {
      try await withMemoryOracle {
        func expect(_ file: consuming OwnedFd, _ code: MemoryError.Code) {
          let error = memoryError(file) { file in
            _ = try SealedMemory(adoptingOrCopying: file, atMost: 100)
          }
          #expect(error?.code == code)
        }
        expect(try .fifo(), .notMemory)
        expect(try .openFile("/dev/zero"), .notMemory)
        expect(try .openFile("/"), .notMemory)
        expect(try .memory(of: 101, sealed: 0), .tooLarge)
        expect(try .memory(of: 100, sealed: 0).reopened(O_WRONLY), .notReadable)
        expect(try .pathOnly("/etc/passwd"), .notReadable)
      }
    }

    /// A file that is shorter when it is read than when its size was checked, as if its owner had
    /// shrunk it in between: sysfs files report 4,096 bytes, but have only a few.
    @Test func aFileThatIsCutBetweenTheLookAndTheCopy() async throws {
      try await withMemoryOracle {
        let file = try OwnedFd.openFile("/sys/kernel/uevent_seqnum")
        let size = file.size
        try #require(size >= 4096)
        let copy = try SealedMemory(adoptingOrCopying: file, atMost: size)
        #expect((1..<100).contains(copy.byteCount))
        let rest = copy.descriptor.size
        #expect(rest == copy.byteCount)
      }
    }

    /// A sealed file is mapped with the size that was checked, and its bytes do not change,
    /// whatever its sender tries in between.
    @Test(arguments: [0xA, 0xF] as [Int32])
    func aSealedFileCannotBeCutBetweenTheLookAndTheMapping(seals: Int32) async throws {
      try await withMemoryOracle {
        let file = try OwnedFd.memory(of: 12_288, sealed: seals)
        let identity = file.identity
        let peers = try file.duplicate()
        var tried = 0
        let memory = try SealedMemory(adoptingOrCopying: file, atMost: 12_288) {
          tried += 1
          peers.withUnsafeFileDescriptor {
            for size in [0, 1, 4096, 12_287] {
              #expect(ftruncate($0.rawValue, off_t(size)) == -1 && errno == EPERM)
            }
            #expect(pwrite($0.rawValue, [9], 1, 0) == -1 && errno == EPERM)
            // Growing an unsealed size does not change the checked part.
            #expect(ftruncate($0.rawValue, 20_000) == (seals == 0xA ? 0 : -1))
          }
        }
        #expect(tried == 1)
        #expect(memory.descriptor.identity == identity)
        #expect(memory.byteCount == 12_288)
        let isWhole = isFilled(memory.bytes) { _ in 0 }
        #expect(isWhole)
      }
    }

    /// A file that can be shrunk is never mapped: the copy contains what is left of it then, and at
    /// most the size that was checked.
    @Test(arguments: [0, 0x2, 0x8, 0x16] as [Int32], [0, 1, 4096, 20_000])
    func anUnsealedFileIsCutBetweenTheLookAndTheCopy(seals: Int32, size: Int) async throws {
      try await withMemoryOracle {
        let file = try OwnedFd.memory(of: 12_288, sealed: 0)
        let peers = try file.duplicate()
        peers.withUnsafeFileDescriptor {
          _ = pwrite($0.rawValue, [UInt8](repeating: 9, count: 12_288), 12_288, 0)
          #expect(ctd_add_seals($0.rawValue, seals) == 0)
        }
        let identity = file.identity
        var tried = 0
        var left = 12_288
        let memory = try SealedMemory(adoptingOrCopying: file, atMost: 12_288) {
          tried += 1
          peers.withUnsafeFileDescriptor { _ = ftruncate($0.rawValue, off_t(size)) }
          left = min(peers.size, left)
        }
        #expect(tried == 1)
        #expect(memory.descriptor.identity != identity)
        #expect(memory.byteCount == left)
        peers.withUnsafeFileDescriptor { _ = ftruncate($0.rawValue, 0) }
        let isWhole = isFilled(memory.bytes) { _ in 9 }
        #expect(isWhole)
        let canBeCut = seals & 0x2 == 0
        #expect(left == (canBeCut ? min(size, 12_288) : 12_288))
      }
    }

    /// Without seals, mapping a file that its owner shrinks ends the process. The checks prevent
    /// this.
    @Test func touchingAMappingThatWasCutEndsTheProcess() async {
      await #expect(processExitsWith: .signal(SIGBUS)) {
        // AddressSanitizer would report the signal, and exit with another status.
        signal(SIGBUS, SIG_DFL)
        let file = try OwnedFd.memory(of: 4096, sealed: 0)
        let number = file.release().rawValue
        let mapped = mmap(nil, 4096, PROT_READ, MAP_SHARED, number, 0)!
        ftruncate(number, 0)
        exit(Int32(mapped.load(as: UInt8.self)))
      }
    }

    // MARK: Elements

    struct Pixel: AnyBitPattern, Equatable {
      var red, green, blue, alpha: UInt8
    }

    @Test func elementsAreViewedInPlace() async throws {
      try await withMemoryOracle {
        var memory = try MutableMemory(byteCount: 16)
        do {
          var numbers = try memory.elements(of: UInt32.self, at: 4)
          #expect(numbers.count == 3)
          for index in numbers.indices { numbers[index] = 0x0403_0201 }
        }
        let sealed = try memory.sealed()
        let pixels = try sealed.elements(of: Pixel.self)
        #expect(pixels.count == 4)
        #expect(pixels[0] == Pixel(red: 0, green: 0, blue: 0, alpha: 0))
        #expect(pixels[3] == Pixel(red: 1, green: 2, blue: 3, alpha: 4))
        let two = try sealed.elements(of: UInt16.self, at: 6, count: 2)
        #expect(two[0] == 0x0403)
      }
    }

    private struct Nested: AnyBitPattern {
      var pixel: Pixel
      var pair: (UInt16, (UInt8, Int8))
      var number: Double
    }
    private struct Flag: AnyBitPattern { var flag: Bool }
    private struct Choice: AnyBitPattern {
      enum Kind: UInt8 { case one, two }
      var number: UInt8
      var kind: Kind
    }
    private enum Bare: UInt8, AnyBitPattern { case zero, one }
    private struct Pointing: AnyBitPattern { var place: UnsafeRawPointer }
    private struct Perhaps: AnyBitPattern { var number: UInt32? }
    private struct Foreign: AnyBitPattern {
      struct Part: BitwiseCopyable { var number: UInt32 }
      var part: Part
    }
    private struct Gap: AnyBitPattern {
      var small: UInt8
      var large: UInt32
    }
    private struct Tail: AnyBitPattern {
      var large: UInt32
      var small: UInt8
    }
    private struct InsideGap: AnyBitPattern {
      var gap: Gap
      var more: UInt32
    }
    private struct TupleGap: AnyBitPattern { var pair: (UInt8, UInt16) }

    /// Types of which a peer could make invalid values, and types with padding, which would leak
    /// this process's memory to a peer.
    @Test func typesThatBreakTheRules() {
      #expect(UInt8.keepsToTheRules && Int128.keepsToTheRules && Double.keepsToTheRules)
      #expect(Pixel.keepsToTheRules && Nested.keepsToTheRules)
      let breaking: [any AnyBitPattern.Type] = [
        Flag.self, Choice.self, Bare.self, Pointing.self, Perhaps.self, Foreign.self, Gap.self,
        Tail.self, InsideGap.self, TupleGap.self,
      ]
      for type in breaking {
        let isAccepted = type.keepsToTheRules
        #expect(!isAccepted, "\(type)")
      }
    }

    #if DEBUG
      @Test func elementsOfATypeThatBreaksTheRulesStopADebugBuild() async {
        await #expect(processExitsWith: .failure) {
          var memory = try MutableMemory(byteCount: 8)
          _ = try memory.elements(of: Gap.self).count
        }
        await #expect(processExitsWith: .failure) {
          let memory = try MutableMemory(byteCount: 8).sealed()
          _ = try memory.elements(of: Flag.self).count
        }
      }
    #endif

    @Test func elementsThatAreNotThereAreErrors() async throws {
      try await withMemoryOracle {
        let memory = try MutableMemory(byteCount: 18).sealed()
        func code(_ offset: Int, _ count: Int?) -> MemoryError.Code? {
          memoryError { _ = try memory.elements(of: UInt32.self, at: offset, count: count).count }?
            .code
        }
        #expect(code(0, 4) == nil)
        #expect(code(16, 0) == nil)
        #expect(code(0, nil) == .wrongSize)
        #expect(code(0, 5) == .outOfBounds)
        #expect(code(4, 4) == .outOfBounds)
        #expect(code(2, 1) == .misaligned)
        #expect(code(20, 0) == .outOfBounds)
        #expect(code(-4, 1) == .outOfBounds)
        #expect(code(0, -1) == .outOfBounds)
        for count in [Int.max, Int.max / 4, Int.min] { #expect(code(16, count) == .outOfBounds) }
        #expect(code(.max, .max) == .outOfBounds)
      }
    }
  }
}
