// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

// A separate package, so that users of the library never resolve the examples' dependencies.

let swiftSettings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .enableUpcomingFeature("InferIsolatedConformances"),
  .strictMemorySafety(),
  .treatWarning("StrictMemorySafety", as: .error),
]

let package = Package(
  name: "examples",
  products: [
    .executable(name: "console", targets: ["console"]),
    .executable(name: "fd-broker", targets: ["fd-broker"]),
    .executable(name: "frames", targets: ["frames"]),
    .executable(name: "line-relay", targets: ["line-relay"]),
    .executable(name: "hot-restart", targets: ["hot-restart"]),
    .executable(name: "privilege-separation", targets: ["privilege-separation"]),
  ],
  dependencies: [
    .package(name: "swift-message-sockets", path: ".."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-async-algorithms", from: "1.1.4"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
  ],
  targets: [
    .executableTarget(
      name: "fd-broker",
      dependencies: [
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "Varlink", package: "swift-message-sockets"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "fd-broker",
      exclude: ["README.md"],
      swiftSettings: swiftSettings
    ),
    .executableTarget(
      name: "console",
      dependencies: [
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "console/Program",
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "ConsoleTests",
      dependencies: [
        "console",
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "MessageSocketsTesting", package: "swift-message-sockets"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings
    ),
    .target(name: "CMemoryFile", path: "frames/CMemoryFile"),
    .executableTarget(
      name: "frames",
      dependencies: [
        "CMemoryFile",
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "SharedMemory", package: "swift-message-sockets"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "frames/Program",
      swiftSettings: swiftSettings
    ),
    .testTarget(name: "FramesTests", dependencies: ["frames"], swiftSettings: swiftSettings),
    .executableTarget(
      name: "line-relay",
      dependencies: [
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "AsyncAlgorithms", package: "swift-async-algorithms"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "UnixSignals", package: "swift-service-lifecycle"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "line-relay",
      exclude: ["README.md"],
      swiftSettings: swiftSettings
    ),
    .executableTarget(
      name: "hot-restart",
      dependencies: [
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "ServiceManagement", package: "swift-message-sockets"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "UnixSignals", package: "swift-service-lifecycle"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "hot-restart",
      exclude: ["README.md", "hot-restart.service", "hot-restart.socket"],
      swiftSettings: swiftSettings
    ),
    .executableTarget(
      name: "privilege-separation",
      dependencies: [
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "ServiceManagement", package: "swift-message-sockets"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "privilege-separation",
      exclude: ["README.md"],
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "PrivilegeSeparationTests",
      dependencies: [
        "privilege-separation",
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "ServiceManagement", package: "swift-message-sockets"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "HotRestartTests",
      dependencies: [
        "hot-restart",
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings),
    .testTarget(
      name: "LineRelayTests",
      dependencies: [
        "line-relay",
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "FDBrokerTests",
      dependencies: [
        "fd-broker",
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "Varlink", package: "swift-message-sockets"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings
    ),
  ],
  swiftLanguageModes: [.v6]
)
