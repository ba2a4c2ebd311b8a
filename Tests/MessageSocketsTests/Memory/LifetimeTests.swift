// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

extension KernelTests {
  /// The compiler prevents memory from being used after its owner has ended: such programs do not
  /// compile.
  @Suite(.enabled(if: Compiler.isAvailable, "swiftc is not in PATH"), .timeLimit(.minutes(2)))
  struct MemoryLifetimes {
    /// The control experiment: a correct program compiles with these flags.
    @Test func aSpanInsideTheLifeOfItsOwnerCompiles() throws {
      let errors = try Compiler.errors(
        """
        func sum() throws -> Int {
          let memory = try MutableMemory(byteCount: 16).sealed()
          let bytes = memory.bytes
          return look(at: bytes)
        }
        """)
      #expect(errors == "")
    }

    @Test(arguments: programs)
    func aSpanThatOutlivesItsOwnerDoesNotCompile(program: String) throws {
      let errors = try Compiler.errors(program)
      let isAboutLifetimes = ["lifetime-dependent", "borrowed", "overlapping accesses", "consumed"]
        .contains { errors.contains($0) }
      #expect(isAboutLifetimes, "\(errors)")
    }

    /// Each program breaks one rule.
    private static let programs = [
      // The span is used after its owner was consumed.
      """
      func late() throws -> Int {
        let memory = try MutableMemory(byteCount: 16).sealed()
        let bytes = memory.bytes
        _ = memory.releaseDescriptor()
        return look(at: bytes)
      }
      """,
      // A span of elements is used after its owner was consumed.
      """
      func late() throws -> UInt32 {
        let memory = try MutableMemory(byteCount: 16).sealed()
        let numbers = try memory.elements(of: UInt32.self)
        _ = memory.releaseDescriptor()
        return numbers[0]
      }
      """,
      // The span leaves the scope of its owner.
      """
      func late() throws -> Int {
        var kept = RawSpan()
        do {
          let memory = try MutableMemory(byteCount: 16).sealed()
          kept = memory.bytes
        }
        return look(at: kept)
      }
      """,
      // Memory is written after it was sealed.
      """
      func late() throws -> Int {
        var memory = try MutableMemory(byteCount: 16)
        var bytes = memory.bytes
        let sealed = try memory.sealed()
        bytes.storeBytes(of: 1, toByteOffset: 0, as: UInt8.self)
        return sealed.byteCount
      }
      """,
      // Two writers access one memory.
      """
      func both() throws {
        var memory = try MutableMemory(byteCount: 16)
        var one = memory.bytes
        var two = memory.bytes
        one.storeBytes(of: 1, toByteOffset: 0, as: UInt8.self)
        two.storeBytes(of: 1, toByteOffset: 0, as: UInt8.self)
      }
      """,
      // Memory is consumed twice.
      """
      func twice() throws -> Int {
        let memory = try MutableMemory(byteCount: 16)
        let sealed = try memory.sealed()
        return try memory.sealed().byteCount + sealed.byteCount
      }
      """,
    ]
  }
}

/// The toolchain's compiler, with the modules that the tests were built from.
private enum Compiler {
  static let isAvailable = (try? run(["--version"]))?.contains("Swift version") == true

  /// The errors of a program that imports `SharedMemory`. The compiler checks lifetimes after type
  /// checking, in its intermediate language.
  static func errors(_ program: String) throws -> String {
    let source = try OwnedFd.memoryFile()
    let text =
      "import SharedMemory\nfunc look(at bytes: RawSpan) -> Int { bytes.byteCount }\n" + program
    _ = try source.withUnsafeFileDescriptor { try $0.writeAll(text.utf8) }
    let built = ChildProcess.directory
    let maps = [
      "\(built)/../../checkouts/swift-system/Sources/CSystem/include",
      "\(built)/CMessageSockets.build",
    ]
    return try source.withUnsafeFileDescriptor { file in
      try file.seek(offset: 0, from: .start)
      return try run(
        [
          "-emit-sil", "-o", "/dev/null", "-parse-as-library", "-swift-version", "6", "-I",
          "\(built)/Modules",
        ]
          + maps.flatMap { ["-Xcc", "-fmodule-map-file=\($0)/module.modulemap"] } + ["-"],
        input: file.rawValue)
    }
  }

  /// Runs the compiler. Returns its output; throws if it fails.
  private static func run(_ arguments: [String], input: Int32 = 0) throws -> String {
    let output = try OutputPipe()
    let child = try output.feed {
      try ChildProcess(["swiftc"] + arguments, descriptors: [0: input, 1: $0, 2: $0])
    }
    let text = try output.readToEnd()
    let status = child.exitStatus()
    #expect(status == 0 || text.contains("error:"), "swiftc: \(status)")
    return status == 0 && !arguments.contains("--version") ? "" : text
  }
}
