// SPDX-License-Identifier: Apache-2.0
//! What the comparison measures of handover.rs. See ../README.md.
mod handover;

use handover::{pass, receive, serve};
use nix::sys::socket::{recvmsg, ControlMessageOwned, MsgFlags};
use std::io::{IoSliceMut, Result};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;

fn open_descriptors() -> i64 {
    std::fs::read_dir("/proc/self/fd").unwrap().count() as i64
}

/// What a program does at first: nix returns numbers.
fn take(peer: RawFd) -> Result<RawFd> {
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    let mut control = nix::cmsg_space!(RawFd);
    let message = recvmsg::<()>(peer, &mut bytes, Some(&mut control), MsgFlags::empty())?;
    for part in message.cmsgs() {
        if let ControlMessageOwned::ScmRights(numbers) = part {
            return Ok(numbers[0]);
        }
    }
    Err(std::io::ErrorKind::InvalidData.into())
}

async fn receive_plainly(peer: RawFd) -> Result<RawFd> {
    tokio::task::spawn_blocking(move || take(peer)).await?
}

async fn cancel_rounds(count: u64, plain: bool) -> Result<()> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let (mut received, mut left, mut lost) = (0, 0, 0);
    let mut before = 0;
    // The first round starts what the runtime needs.
    for round in 0..=count {
        if round == 1 {
            (received, left, lost) = (0, 0, 0);
            before = open_descriptors();
        }
        let (client, service) = UnixStream::pair()?;
        let number = service.as_raw_fd();
        if plain {
            nonblocking(number, false);
        }
        let service = std::sync::Arc::new(service);
        let its = service.clone();
        let task = tokio::spawn(async move {
            if plain {
                let number = receive_plainly(number).await?;
                drop(unsafe { std::os::fd::OwnedFd::from_raw_fd(number) });
                Ok(())
            } else {
                receive(&its).await.map(drop)
            }
        });
        spin(Duration::from_micros(20)).await;
        pass(&client, listener.as_raw_fd()).await?;
        spin(Duration::from_nanos(round * 7919 % 100_000)).await;
        task.abort();
        match task.await {
            Ok(result) => {
                result?;
                received += 1
            }
            Err(_) => {
                nonblocking(number, true);
                match take(number) {
                    Ok(pending) => {
                        left += 1;
                        drop(unsafe { std::os::fd::OwnedFd::from_raw_fd(pending) })
                    }
                    Err(_) => lost += 1,
                }
            }
        }
    }
    println!(
        "{{\"received\": {received}, \"left\": {left}, \"lost\": {lost}, \"leaked\": {}}}",
        open_descriptors() - before
    );
    Ok(())
}

async fn spin(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        tokio::task::yield_now().await;
    }
}

fn nonblocking(number: RawFd, on: bool) {
    use nix::fcntl::{fcntl, FcntlArg, OFlag};
    let flags = if on { OFlag::O_NONBLOCK } else { OFlag::empty() };
    fcntl(number, FcntlArg::F_SETFL(flags)).unwrap();
}

fn is_close_on_exec(number: RawFd) -> i32 {
    use nix::fcntl::{fcntl, FcntlArg};
    fcntl(number, FcntlArg::F_GETFD).unwrap() & 1
}

async fn control(peer: UnixStream) -> Result<()> {
    let before = open_descriptors();
    let careful = receive(&peer).await?;
    peer.readable().await?;
    let plain = loop {
        match take(peer.as_raw_fd()) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => tokio::task::yield_now().await,
            done => break done?,
        }
    };
    let flags = (is_close_on_exec(careful.as_raw_fd()), is_close_on_exec(plain));
    drop(careful);
    drop(unsafe { std::os::fd::OwnedFd::from_raw_fd(plain) });
    let three = receive(&peer).await.map_or_else(|e| e.to_string(), |_| "received".into());
    let leaked = open_descriptors() - before;
    drop(unsafe { std::os::fd::OwnedFd::from_raw_fd(take(peer.as_raw_fd())?) });
    println!(
        "{{\"cloexec\": {}, \"plain_cloexec\": {}, \"three\": \"{three}\", \"leaked\": {leaked}, \
         \"plain_leaked\": {}}}",
        flags.0,
        flags.1,
        open_descriptors() - before - leaked
    );
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let mode = arguments.get(1).map_or("serve", |mode| mode);
    if mode == "cancel" || mode == "plain" {
        return cancel_rounds(arguments[2].parse().unwrap(), mode == "plain").await;
    }
    let peer = unsafe { std::os::unix::net::UnixStream::from_raw_fd(3) };
    peer.set_nonblocking(true)?;
    let peer = UnixStream::from_std(peer)?;
    if mode == "control" {
        return control(peer).await;
    }
    while serve(&peer).await.is_ok() {}
    Ok(())
}
