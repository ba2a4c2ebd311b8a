enum PeerRun {
  static func run(_ input: Input) -> CInt { 0 }
}
