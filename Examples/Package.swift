// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that what the examples need is never resolved for users of the library.

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
  products: [.executable(name: "fd-broker", targets: ["fd-broker"])],
  dependencies: [
    .package(name: "swift-message-sockets", path: ".."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
  ],
  targets: [
    .executableTarget(
      name: "fd-broker",
      dependencies: [
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "fd-broker",
      exclude: ["README.md"],
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "FDBrokerTests",
      dependencies: [
        "fd-broker",
        .product(name: "MessageSockets", package: "swift-message-sockets"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings
    ),
  ],
  swiftLanguageModes: [.v6]
)
