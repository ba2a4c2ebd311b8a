// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

// The tests and the examples of the products that stand behind traits. A separate package, because
// its traits and dependencies must not reach users of the library.

let swiftSettings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .enableUpcomingFeature("InferIsolatedConformances"),
  .strictMemorySafety(),
  .treatWarning("StrictMemorySafety", as: .error),
]

/// All of them.
let traits: Set<Package.Dependency.Trait> = ["NIO", "Lifecycle", "Metrics", "Logging"]

let package = Package(
  name: "integrations",
  dependencies: [
    .package(name: "swift-message-sockets", path: "..", traits: traits),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
  ],
  targets: [
    // A broker that accepts and checks, and a worker that answers with SwiftNIO.
    .executableTarget(
      name: "nio-broker",
      dependencies: [
        .product(name: "MessageSocketsNIO", package: "swift-message-sockets"),
        .product(name: "MessageSocketsTesting", package: "swift-message-sockets"),
        .product(name: "ServiceManagement", package: "swift-message-sockets"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "nio-broker",
      exclude: ["README.md"],
      swiftSettings: swiftSettings
    ),
    // A server of ready services, under a manager of its own.
    .executableTarget(
      name: "graceful-service",
      dependencies: [
        .product(name: "MessageSocketsLifecycle", package: "swift-message-sockets"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "UnixSignals", package: "swift-service-lifecycle"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "graceful-service",
      exclude: ["README.md"],
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "LifecycleTests",
      dependencies: [
        "graceful-service",
        .product(name: "MessageSocketsLifecycle", package: "swift-message-sockets"),
        .product(name: "MessageSocketsTesting", package: "swift-message-sockets"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "UnixSignals", package: "swift-service-lifecycle"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings
    ),
    // Reports the driver that a loop chooses here. Tests/run asks for it.
    .executableTarget(
      name: "DriverProbeTool",
      dependencies: [.product(name: "MessageSockets", package: "swift-message-sockets")],
      path: "Tests/DriverProbeTool",
      swiftSettings: swiftSettings
    ),
    // A server with metrics and logs, and clients that it refuses.
    .executableTarget(
      name: "observed-server",
      dependencies: [
        .product(name: "MessageSocketsLogging", package: "swift-message-sockets"),
        .product(name: "MessageSocketsMetrics", package: "swift-message-sockets"),
        .product(name: "MessageSocketsTesting", package: "swift-message-sockets"),
        .product(name: "ServiceManagement", package: "swift-message-sockets"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "CoreMetrics", package: "swift-metrics"),
        .product(name: "MetricsTestKit", package: "swift-metrics"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "observed-server",
      exclude: ["README.md"],
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "LoggingTests",
      dependencies: [
        .product(name: "MessageSocketsLogging", package: "swift-message-sockets"),
        .product(name: "MessageSocketsTesting", package: "swift-message-sockets"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "MetricsTests",
      dependencies: [
        .product(name: "MessageSocketsMetrics", package: "swift-message-sockets"),
        .product(name: "MessageSocketsTesting", package: "swift-message-sockets"),
        .product(name: "CoreMetrics", package: "swift-metrics"),
        .product(name: "MetricsTestKit", package: "swift-metrics"),
      ],
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "NIOTests",
      dependencies: [
        .product(name: "MessageSocketsNIO", package: "swift-message-sockets"),
        .product(name: "MessageSocketsTesting", package: "swift-message-sockets"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOEmbedded", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings
    ),
  ],
  swiftLanguageModes: [.v6]
)
