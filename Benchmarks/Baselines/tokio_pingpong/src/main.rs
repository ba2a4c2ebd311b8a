// SPDX-License-Identifier: Apache-2.0
//! Does the work of the C baselines with Rust's tokio and a task for each end of a pair.

mod idle;
mod meter;
mod options;
mod socket;

use meter::{running, Counter, Figures, MEASURED};
use options::{options, Mode};
use socket::{open_pair, Listener, Socket};
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::{yield_now, JoinHandle};

pub fn fail(message: impl Display) -> ! {
    eprintln!("tokio_pingpong: {message}");
    std::process::exit(1);
}

pub fn check(result: i32, what: &str) -> i32 {
    if result < 0 {
        fail(format!("{what}: {}", std::io::Error::last_os_error()));
    }
    result
}

async fn finish(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.await.unwrap_or_else(|error| fail(error));
    }
}

async fn end(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.abort();
        // The task was cancelled or has ended. Its socket is closed in both cases.
        let _ = task.await;
    }
}

fn measured(elapsed: Duration) -> Figures {
    Figures {
        messages: MEASURED.load(Relaxed),
        elapsed,
        resident_bytes: None,
    }
}

/// Runs ping-pong mode: each end answers every message that it receives.
async fn pingpong() -> Figures {
    let (mut near_ends, mut far_ends) = (Vec::new(), Vec::new());
    for _ in 0..options().pairs {
        let (near, far) = open_pair();
        near_ends.push(tokio::spawn(async move {
            let mut socket = Socket::new(near);
            let mut counter = Counter::default();
            while running() {
                socket.send().await;
                if !socket.receive().await {
                    fail("the peer closed");
                }
                counter.add(2);
            }
        }));
        far_ends.push(tokio::spawn(async move {
            let mut socket = Socket::new(far);
            while socket.receive().await {
                socket.send().await;
            }
        }));
    }
    let elapsed = meter::measure().await;
    finish(near_ends).await;
    end(far_ends).await;
    measured(elapsed)
}

/// Runs one-way mode: one end sends, the other receives.
async fn oneway() -> Figures {
    static SENT: AtomicU64 = AtomicU64::new(0);
    static RECEIVED: AtomicU64 = AtomicU64::new(0);
    let (mut near_ends, mut far_ends) = (Vec::new(), Vec::new());
    for _ in 0..options().pairs {
        let (near, far) = open_pair();
        near_ends.push(tokio::spawn(async move {
            let mut socket = Socket::new(near);
            while running() {
                // The count precedes the send, so that the far end never counts more than this one.
                SENT.fetch_add(1, Relaxed);
                socket.send().await;
            }
            // An early close would discard messages that the far end has not read yet.
            while RECEIVED.load(Relaxed) < SENT.load(Relaxed) {
                yield_now().await;
            }
        }));
        far_ends.push(tokio::spawn(async move {
            let mut socket = Socket::new(far);
            let mut counter = Counter::default();
            while socket.receive().await {
                RECEIVED.fetch_add(1, Relaxed);
                counter.add(1);
            }
        }));
    }
    let elapsed = meter::measure().await;
    finish(near_ends).await;
    end(far_ends).await;
    measured(elapsed)
}

/// Runs accept mode: connects, accepts, sends one message, and closes both ends, with `pairs`
/// connections open at a time.
async fn accept() -> Figures {
    let listener = Arc::new(Listener::new());
    let slots = Arc::new(Semaphore::new(options().pairs));
    let acceptor = tokio::spawn(serve(listener.clone(), slots.clone()));
    let client = tokio::spawn(async move {
        while running() {
            // The server releases the permit when it has closed its end.
            slots
                .acquire()
                .await
                .unwrap_or_else(|error| fail(error))
                .forget();
            Socket::new(listener.connect()).send().await;
        }
        let all = slots.acquire_many(options().pairs as u32).await;
        drop(all.unwrap_or_else(|error| fail(error)));
    });
    let elapsed = meter::measure().await;
    finish(vec![client]).await;
    end(vec![acceptor]).await;
    measured(elapsed)
}

async fn serve(listener: Arc<Listener>, slots: Arc<Semaphore>) {
    loop {
        let accepted = listener.accept().await;
        let slots = slots.clone();
        tokio::spawn(async move {
            let mut socket = Socket::new(accepted);
            if !socket.receive().await {
                fail("the peer closed");
            }
            let mut counter = Counter::default();
            counter.add(1);
            drop((socket, counter));
            slots.add_permits(1);
        });
    }
}

fn open_runtime() -> Runtime {
    let mut builder = match options().threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if options().threads > 1 {
        builder.worker_threads(options().threads);
    }
    builder
        .enable_all()
        .build()
        .unwrap_or_else(|error| fail(error))
}

fn count_open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count())
}

fn main() {
    let mode = options().mode;
    idle::raise_descriptor_limit();
    socket::prepare();
    let before = count_open_descriptors();
    let runtime = open_runtime();
    // On the multi-thread runtime, this thread only keeps the time.
    let figures = runtime.block_on(async {
        match mode {
            Mode::PingPong | Mode::TwoThreads => pingpong().await,
            Mode::OneWay => oneway().await,
            Mode::Idle => tokio::spawn(idle::idle())
                .await
                .unwrap_or_else(|error| fail(error)),
            Mode::Accept => accept().await,
        }
    });
    drop(runtime);
    let after = count_open_descriptors();
    if after != before {
        fail(format!(
            "{} descriptors leaked",
            after as i64 - before as i64
        ));
    }
    meter::report(&figures);
}
