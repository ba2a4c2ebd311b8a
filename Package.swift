// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

/// Every Swift target is built with the upcoming features that change how code is read, and with
/// `Lifetimes` for types that borrow a caller's memory. The library also has strict memory safety
/// as an error: each unsafe use is spelled `unsafe`.
let swiftSettings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .enableUpcomingFeature("InferIsolatedConformances"),
  .enableExperimentalFeature("Lifetimes"),
]

let librarySettings: [SwiftSetting] =
  swiftSettings + [
    .strictMemorySafety(),
    .treatWarning("StrictMemorySafety", as: .error),
  ]

let package = Package(
  name: "swift-message-sockets",
  products: [
    .library(name: "MessageSockets", targets: ["MessageSockets"]),
    .library(name: "MessageFraming", targets: ["MessageFraming"]),
    .library(name: "Varlink", targets: ["Varlink"]),
    .library(name: "Ancillary", targets: ["Ancillary"]),
    .library(name: "SharedMemory", targets: ["SharedMemory"]),
    .library(name: "ServiceManagement", targets: ["ServiceManagement"]),
    .library(name: "MessageSocketsTesting", targets: ["MessageSocketsTesting"]),
    // Experimental: the loops as the executor of all tasks of the process.
    .library(name: "MessageSocketsExecutor", targets: ["MessageSocketsExecutor"]),
    // Each of these is empty unless its trait is on. Tests and examples stand in Integrations.
    .library(name: "MessageSocketsNIO", targets: ["MessageSocketsNIO"]),
    .library(name: "MessageSocketsLifecycle", targets: ["MessageSocketsLifecycle"]),
    .library(name: "MessageSocketsMetrics", targets: ["MessageSocketsMetrics"]),
    .library(name: "MessageSocketsLogging", targets: ["MessageSocketsLogging"]),
  ],
  traits: [
    .trait(name: "NIO", description: "MessageSocketsNIO, with a dependency on swift-nio."),
    .trait(
      name: "Lifecycle",
      description: "MessageSocketsLifecycle, with a dependency on swift-service-lifecycle."),
    .trait(
      name: "Metrics", description: "MessageSocketsMetrics, with a dependency on swift-metrics."),
    .trait(name: "Logging", description: "MessageSocketsLogging, with a dependency on swift-log."),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    // Only behind a trait: no user who turns none on resolves or fetches these (.ci/dependencies).
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
  ],
  targets: [
    // liburing, as the system's package manager installs it (Debian: liburing-dev).
    .systemLibrary(name: "CLiburing", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),
    // Struct layouts, hidden constants, and calls that Swift cannot express. Makes no decisions.
    .target(name: "CMessageSockets"),
    // The C target for io_uring: the only target that needs liburing.
    .target(name: "CRing", dependencies: ["CLiburing", "CMessageSockets"]),
    // Descriptors, control messages, codecs, addresses, options. Bytes in, values out: no loop, no
    // actors.
    .target(
      name: "Ancillary",
      dependencies: [
        "CMessageSockets",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: librarySettings
    ),
    // The loop: one thread that is an executor and owns a ring. Operations, buffers, drivers.
    .target(
      name: "SocketEngine",
      dependencies: [
        "CMessageSockets",
        "CRing",
        "Ancillary",
        .product(name: "SystemPackage", package: "swift-system"),
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "HeapModule", package: "swift-collections"),
      ],
      swiftSettings: librarySettings
    ),
    // Frames over Unix connections, with the descriptors that belong to each; requests and replies.
    .target(
      name: "MessageFraming",
      dependencies: [
        "MessageSockets", "SocketEngine",
        .product(name: "DequeModule", package: "swift-collections"),
      ],
      swiftSettings: librarySettings
    ),
    // Varlink over framed streams. The only module that uses Foundation, for JSON.
    .target(
      name: "Varlink",
      dependencies: [
        "MessageFraming", "MessageSockets", "SocketEngine",
        .product(name: "DequeModule", package: "swift-collections"),
      ],
      swiftSettings: librarySettings
    ),
    // The module that users import: socket actors, listeners, sequences, policies.
    .target(
      name: "MessageSockets",
      dependencies: [
        "SocketEngine",
        "Ancillary",
        "CMessageSockets",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: librarySettings
    ),
    // Memory files that no process can change after they are sealed: made, sealed, received,
    // mapped.
    .target(
      name: "SharedMemory",
      dependencies: [
        "CMessageSockets", "Ancillary", .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: librarySettings
    ),
    // Socket activation, notifications, the descriptor store, starting services, hand-over; and
    // tests with a service to start.
    .target(
      name: "ServiceManagement",
      dependencies: [
        "MessageSockets", "SocketEngine", "CMessageSockets",
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: librarySettings
    ),
    .testTarget(
      name: "ServiceManagementTests",
      dependencies: [
        "ServiceManagement", "MessageSockets", "SocketEngine", "SharedMemory", "ServiceTool",
        "CTestDescriptors",
        "CAllocationCounter",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings
    ),
    .executableTarget(
      name: "ServiceTool",
      dependencies: [
        "ServiceManagement", "MessageSockets", "SocketEngine",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "Tests/ServiceTool",
      swiftSettings: swiftSettings
    ),
    // For tests of programs: made messages, open descriptors before and after, bad peers.
    .target(
      name: "MessageSocketsTesting",
      dependencies: [
        "MessageSockets", "SocketEngine", "Ancillary", "CMessageSockets",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: librarySettings
    ),
    // Experimental: makes loops the process's default executor, by an unofficial interface of the
    // concurrency runtime.
    .target(
      name: "MessageSocketsExecutor", dependencies: ["SocketEngine"], swiftSettings: librarySettings
    ),
    // Behind the trait NIO: sockets that change hands between SwiftNIO and this package.
    .target(
      name: "MessageSocketsNIO",
      dependencies: [
        "MessageSockets", "CMessageSockets",
        .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["NIO"])),
        .product(name: "NIOPosix", package: "swift-nio", condition: .when(traits: ["NIO"])),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: librarySettings
    ),
    // Behind the trait Metrics: what loops count, for swift-metrics.
    .target(
      name: "MessageSocketsMetrics",
      dependencies: [
        "MessageSockets", "SocketEngine",
        .product(
          name: "CoreMetrics", package: "swift-metrics", condition: .when(traits: ["Metrics"])),
      ],
      swiftSettings: librarySettings
    ),
    // Behind the trait Logging: refused peers, violated policies and drivers, for swift-log.
    .target(
      name: "MessageSocketsLogging",
      dependencies: [
        "MessageSockets", "Ancillary",
        .product(name: "Logging", package: "swift-log", condition: .when(traits: ["Logging"])),
      ],
      swiftSettings: librarySettings
    ),
    // Behind the trait Lifecycle: listeners, hand-overs and notifications as services of
    // swift-service-lifecycle.
    .target(
      name: "MessageSocketsLifecycle",
      dependencies: [
        "MessageSockets", "ServiceManagement",
        .product(
          name: "ServiceLifecycle", package: "swift-service-lifecycle",
          condition: .when(traits: ["Lifecycle"])),
        .product(
          name: "UnixSignals", package: "swift-service-lifecycle",
          condition: .when(traits: ["Lifecycle"])),
      ],
      swiftSettings: librarySettings
    ),
    .target(name: "CAllocationCounter", path: "Tests/CAllocationCounter"),
    .target(name: "CTestDescriptors", dependencies: ["CLiburing"], path: "Tests/CTestDescriptors"),
    .testTarget(
      name: "AncillaryTests",
      dependencies: [
        "Ancillary", "CMessageSockets", "CAllocationCounter",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "SocketEngineTests",
      dependencies: [
        "SocketEngine", "Ancillary", "CMessageSockets", "SeededRandom",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "MessageSocketsTests",
      dependencies: [
        "MessageFraming", "Varlink",
        "MessageSocketsTesting", "MessageSockets", "SocketEngine", "SharedMemory", "CRing",
        "CAllocationCounter",
        "CProcessRestrictions",
        "CTestDescriptors", "DriverProbeTool", "LoopExecutorTool", "SeededRandom",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings
    ),
    // Tests from a user's point of view: public declarations only, and the examples of the
    // documentation.
    .testTarget(
      name: "ConsumerTests",
      dependencies: [
        "MessageSocketsTesting", "MessageSockets", "MessageFraming", "ServiceManagement",
        "SharedMemory", "Varlink",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings
    ),
    // For tests: a process that restricts itself as a container would, and reports its loop's
    // driver.
    .executableTarget(
      name: "DriverProbeTool",
      dependencies: [
        "MessageSockets", "CProcessRestrictions",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "Tests/DriverProbeTool",
      swiftSettings: swiftSettings
    ),
    // For tests: a program whose tasks all run on the loops.
    .executableTarget(
      name: "LoopExecutorTool",
      dependencies: ["MessageSockets", "MessageSocketsExecutor"],
      path: "Tests/LoopExecutorTool",
      swiftSettings: swiftSettings
    ),
    // Thousands of sockets for a minute, with everything that can be cancelled, closed or shut
    // down: `make storm`.
    .executableTarget(
      name: "Storm",
      dependencies: [
        "MessageSocketsTesting", "MessageSockets", "SeededRandom",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "Tests/Storm",
      swiftSettings: swiftSettings
    ),
    // Varlink calls from many tasks, cancelled and expired at random: `make storm-varlink`.
    .executableTarget(
      name: "VarlinkStorm",
      dependencies: [
        "Varlink", "MessageFraming", "MessageSocketsTesting", "MessageSockets", "SeededRandom",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "Tests/VarlinkStorm",
      swiftSettings: swiftSettings
    ),
    .target(name: "SeededRandom", path: "Tests/SeededRandom", swiftSettings: swiftSettings),
    .target(name: "CProcessRestrictions", path: "Tests/CProcessRestrictions"),
  ],
  swiftLanguageModes: [.v6]
)
