// SPDX-License-Identifier: Apache-2.0
//! Idle mode: measures the memory of a task that waits for a message, then sends one message to
//! each.

use crate::meter::Figures;
use crate::options::options;
use crate::socket::{open_pair, send_rest, Socket};
use crate::{check, fail};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// The largest number of messages in flight.
const WAVE: usize = 64;

/// Returns 10,000, or fewer if both ends of that many pairs, together with the descriptors received
/// in one wave, would exceed the descriptor limit.
pub fn default_pairs(fds: usize) -> usize {
    let others = WAVE + WAVE * fds;
    match raise_descriptor_limit() {
        limit if limit <= others + 2 => {
            fail(format!("the limit of {limit} open descriptors is too low"))
        }
        limit => ((limit - others) / 2).min(10_000),
    }
}

/// Raises the descriptor limit to the hard limit, or beyond it if the process is permitted to, and
/// returns it.
pub fn raise_descriptor_limit() -> usize {
    // SAFETY: the structures are valid for the calls.
    unsafe {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        check(
            libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit),
            "getrlimit",
        );
        let wanted = libc::rlimit {
            rlim_cur: 1_000_000,
            rlim_max: 1_000_000,
        };
        if limit.rlim_max < wanted.rlim_max && libc::setrlimit(libc::RLIMIT_NOFILE, &wanted) == 0 {
            return wanted.rlim_cur as usize;
        }
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), "setrlimit");
        limit.rlim_max as usize
    }
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let Some(pages) = text
        .split(' ')
        .nth(1)
        .and_then(|field| field.parse::<usize>().ok())
    else {
        fail("/proc/self/statm cannot be read");
    };
    // SAFETY: the call takes and returns a number.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize
}

pub async fn idle() -> Figures {
    static WAITING: AtomicUsize = AtomicUsize::new(0);
    let pairs = options().pairs;
    let before = resident_bytes();
    let wave = Arc::new(Semaphore::new(WAVE));
    let mut senders = Vec::with_capacity(pairs);
    let mut tasks = Vec::with_capacity(pairs);
    for _ in 0..pairs {
        let (near, far) = open_pair();
        senders.push(near);
        tasks.push(tokio::spawn(receive_one(far, wave.clone(), &WAITING)));
    }
    while WAITING.load(Relaxed) < pairs {
        yield_now().await;
    }
    let resident = (resident_bytes() - before) as f64 / pairs as f64;

    let start = Instant::now();
    for sender in &senders {
        // The receiver releases the permit when the message has arrived.
        wave.acquire()
            .await
            .unwrap_or_else(|error| fail(error))
            .forget();
        match send_rest(sender.as_raw_fd(), 0) {
            Ok(count) if count == options().bytes => {}
            other => fail(format!("sendmsg: {other:?}")),
        }
    }
    drop(
        wave.acquire_many(WAVE as u32)
            .await
            .unwrap_or_else(|error| fail(error)),
    );
    let elapsed = start.elapsed();
    for task in tasks {
        task.await.unwrap_or_else(|error| fail(error));
    }
    Figures {
        messages: pairs as u64,
        elapsed,
        resident_bytes: Some(resident),
    }
}

async fn receive_one(fd: OwnedFd, wave: Arc<Semaphore>, waiting: &AtomicUsize) {
    let mut socket = Socket::new(fd);
    waiting.fetch_add(1, Relaxed);
    if !socket.receive().await {
        fail("the peer closed");
    }
    wave.add_permits(1);
}
