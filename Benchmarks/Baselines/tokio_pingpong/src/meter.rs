// SPDX-License-Identifier: Apache-2.0
//! Warm-up and measurement, and the one line of output.

use crate::fail;
use crate::options::{options, Mode};
use std::sync::atomic::{AtomicU64, AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const DONE: u8 = 2;

static PHASE: AtomicU8 = AtomicU8::new(WARMING);

/// Whether the run continues. When it returns false, senders must not begin another message.
pub fn running() -> bool {
    PHASE.load(Relaxed) != DONE
}

/// The messages counted by all tasks. Each task adds its count when it ends, so that running tasks
/// share no counter.
pub static MEASURED: AtomicU64 = AtomicU64::new(0);

/// One task's count of messages.
#[derive(Default)]
pub struct Counter {
    messages: u64,
}

impl Counter {
    pub fn add(&mut self, messages: u64) {
        if PHASE.load(Relaxed) == MEASURING {
            self.messages += messages;
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        MEASURED.fetch_add(self.messages, Relaxed);
    }
}

/// Lets the tasks warm up, then measures them. Returns the measured time.
pub async fn measure() -> Duration {
    tokio::time::sleep(Duration::from_secs_f64(options().warmup)).await;
    let start = Instant::now();
    PHASE.store(MEASURING, Relaxed);
    tokio::time::sleep(Duration::from_secs_f64(options().seconds)).await;
    PHASE.store(DONE, Relaxed);
    start.elapsed()
}

pub struct Figures {
    pub messages: u64,
    pub elapsed: Duration,
    pub resident_bytes: Option<f64>,
}

fn figure(value: Option<f64>) -> String {
    value.map_or("null".to_string(), |value| format!("{value:.1}"))
}

pub fn report(figures: &Figures) {
    let options = options();
    if figures.messages == 0 {
        fail("nothing was measured");
    }
    let ns = figures.elapsed.as_nanos() as f64 / figures.messages as f64;
    let round_trips = options.mode == Mode::PingPong || options.mode == Mode::TwoThreads;
    println!(
        "{{\"program\":\"tokio_pingpong\",\"mode\":\"{}\",\"kind\":\"{}\",\"pairs\":{},\"fds\":{},\"bytes\":{},\"threads\":{},\
         \"ns_per_roundtrip\":{},\"ns_per_message\":{ns:.1},\"resident_bytes_per_connection\":{},\"messages\":{},\
         \"enters_per_message\":null}}",
        options.mode_name(),
        options.kind_name(),
        options.pairs,
        options.fds,
        options.bytes,
        options.threads,
        figure(round_trips.then_some(2.0 * ns)),
        figure(figures.resident_bytes),
        figures.messages,
    );
}
