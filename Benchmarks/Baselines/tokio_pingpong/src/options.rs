// SPDX-License-Identifier: Apache-2.0
//! The arguments and their checks, which are those of the C baselines.

use crate::fail;
use std::sync::OnceLock;

#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    PingPong,
    OneWay,
    TwoThreads,
    Idle,
    Accept,
}

const MODES: [(&str, Mode); 5] = [
    ("pingpong", Mode::PingPong),
    ("oneway", Mode::OneWay),
    ("twothreads", Mode::TwoThreads),
    ("idle", Mode::Idle),
    ("accept", Mode::Accept),
];
const KINDS: [(&str, i32); 3] = [
    ("stream", libc::SOCK_STREAM),
    ("seqpacket", libc::SOCK_SEQPACKET),
    ("dgram", libc::SOCK_DGRAM),
];

pub struct Options {
    pub mode: Mode,
    pub kind: i32,
    pub pairs: usize,
    pub fds: usize,
    pub bytes: usize,
    /// The number of workers: 1 selects tokio's current-thread runtime, more its multi-thread
    /// runtime.
    pub threads: usize,
    pub seconds: f64,
    pub warmup: f64,
}

static OPTIONS: OnceLock<Options> = OnceLock::new();

/// The arguments of this process.
pub fn options() -> &'static Options {
    OPTIONS.get_or_init(parse)
}

pub fn name_of<T: PartialEq>(table: &[(&'static str, T)], value: T) -> &'static str {
    table
        .iter()
        .find(|entry| entry.1 == value)
        .map_or("?", |entry| entry.0)
}

impl Options {
    pub fn mode_name(&self) -> &'static str {
        name_of(&MODES, self.mode)
    }
    pub fn kind_name(&self) -> &'static str {
        name_of(&KINDS, self.kind)
    }
}

fn choose<T: Copy>(table: &[(&str, T)], name: &str, text: &str) -> T {
    match table.iter().find(|entry| entry.0 == text) {
        Some(entry) => entry.1,
        None => fail(format!("{name} {text}: unknown (see --help)")),
    }
}

fn number(name: &str, text: &str, low: f64, high: f64) -> f64 {
    match text.parse::<f64>() {
        Ok(value) if (low..=high).contains(&value) => value,
        _ => fail(format!(
            "{name} {text}: expected a number from {low} to {high}"
        )),
    }
}

fn count(name: &str, text: &str, low: usize, high: usize) -> usize {
    match text.parse::<usize>() {
        Ok(value) if (low..=high).contains(&value) => value,
        _ => fail(format!(
            "{name} {text}: expected a whole number from {low} to {high}"
        )),
    }
}

fn parse() -> Options {
    let mut options = Options {
        mode: Mode::PingPong,
        kind: libc::SOCK_STREAM,
        pairs: 0,
        fds: 1,
        bytes: 64,
        threads: 0,
        seconds: 1.0,
        warmup: 0.2,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--help" {
            print_help();
            std::process::exit(0);
        }
        let Some(text) = arguments.next() else {
            fail(format!(
                "{name}: unknown, or its value is missing (see --help)"
            ));
        };
        match name.as_str() {
            "--mode" => options.mode = choose(&MODES, &name, &text),
            "--kind" => options.kind = choose(&KINDS, &name, &text),
            "--pairs" => options.pairs = count(&name, &text, 1, 100_000),
            "--fds" => options.fds = count(&name, &text, 0, 253),
            "--bytes" => options.bytes = count(&name, &text, 1, 65536),
            "--threads" => options.threads = count(&name, &text, 1, 256),
            "--seconds" => options.seconds = number(&name, &text, 0.001, 3600.0),
            "--warmup" => options.warmup = number(&name, &text, 0.0, 3600.0),
            _ => fail(format!("{name}: unknown (see --help)")),
        }
    }
    complete(options)
}

fn complete(mut options: Options) -> Options {
    if options.threads == 0 {
        options.threads = if options.mode == Mode::TwoThreads {
            2
        } else {
            1
        };
    }
    if options.pairs == 0 {
        options.pairs = if options.mode == Mode::Idle {
            crate::idle::default_pairs(options.fds)
        } else {
            1
        };
    }
    if options.mode == Mode::Accept && options.kind == libc::SOCK_DGRAM {
        fail("datagram sockets do not accept");
    }
    options
}

fn print_help() {
    println!(
        "tokio_pingpong: Rust tokio, AsyncFd with sendmsg and recvmsg

  --mode M        pingpong oneway twothreads idle accept (pingpong)
  --pairs N       socket pairs; in accept mode, connections at a time (1; in idle mode 10000, or what the limit permits)
  --fds F         descriptors in each message, 0 to 253 (1)
  --bytes B       payload of each message, 1 to 65536 (64)
  --kind K        stream, seqpacket or dgram (stream)
  --threads T     1: the current-thread runtime; more: the multi-thread runtime with T workers (1; 2 in twothreads mode)
  --seconds S     measured time (1)
  --warmup W      seconds before the measurement (0.2)
  --help

Prints one line of JSON. One round trip is two messages, one each way."
    );
}
