// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

let swiftSettings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .enableExperimentalFeature("Lifetimes"),
]

let package = Package(
  name: "message-sockets-benchmarks",
  dependencies: [
    .package(name: "swift-message-sockets", path: "../.."),
    .package(path: "../Harness"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
  ],
  targets: [
    // The package under test: actors on a loop.
    .executableTarget(
      name: "message-sockets",
      dependencies: [
        .product(name: "Harness", package: "Harness"),
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings),
    // The cost of a program's first lines, on Swift's thread pool and on the loops.
    .executableTarget(
      name: "first-steps",
      dependencies: [
        .product(name: "Harness", package: "Harness"),
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "MessageSocketsExecutor", package: "swift-message-sockets"),
      ],
      swiftSettings: swiftSettings),
    // Ancillary's blocking form, with a thread for each end.
    .executableTarget(
      name: "swift-blocking",
      dependencies: [
        .product(name: "Harness", package: "Harness"),
        .product(name: "Ancillary", package: "swift-message-sockets"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings),
  ],
  swiftLanguageModes: [.v6]
)
