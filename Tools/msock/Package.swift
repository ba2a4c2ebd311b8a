// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

// A separate package, so that users of the library never resolve swift-argument-parser.

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
  name: "msock",
  products: [.executable(name: "msock", targets: ["msock"])],
  dependencies: [
    .package(name: "swift-message-sockets", path: "../.."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
  ],
  targets: [
    .target(name: "CMsock"),
    .executableTarget(
      name: "msock",
      dependencies: [
        "CMsock",
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "SharedMemory", package: "swift-message-sockets"),
        .product(name: "ServiceManagement", package: "swift-message-sockets"),
        .product(name: "Varlink", package: "swift-message-sockets"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "MsockTests",
      dependencies: [
        "msock",
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "SharedMemory", package: "swift-message-sockets"),
        .product(name: "Varlink", package: "swift-message-sockets"),
        .product(name: "SystemPackage", package: "swift-system"),
      ]
    ),
  ],
  swiftLanguageModes: [.v6]
)
