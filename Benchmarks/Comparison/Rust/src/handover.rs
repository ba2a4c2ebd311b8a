// SPDX-License-Identifier: Apache-2.0
use nix::sys::socket::{recvmsg, sendmsg, ControlMessage, ControlMessageOwned, MsgFlags};
use std::io::{Error, ErrorKind, IoSlice, IoSliceMut, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{TcpListener, UnixStream};
use tokio::time::timeout;

pub async fn pass(peer: &UnixStream, listener: RawFd) -> Result<()> {
    let rights = [listener];
    let control = [ControlMessage::ScmRights(&rights)];
    loop {
        peer.writable().await?;
        match peer.try_io(Interest::WRITABLE, || {
            let bytes = [IoSlice::new(b"L")];
            Ok(sendmsg::<()>(peer.as_raw_fd(), &bytes, &control, MsgFlags::MSG_NOSIGNAL, None)?)
        }) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            done => return done.map(|_| ()),
        }
    }
}

/// Cancel-safe: nothing is awaited behind the call that takes the message. It makes owners of all
/// that came first, because nix returns numbers, which leak on an early return.
pub async fn receive(peer: &UnixStream) -> Result<OwnedFd> {
    loop {
        peer.readable().await?;
        match peer.try_io(Interest::READABLE, || take(peer.as_raw_fd())) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            done => return done,
        }
    }
}

fn take(peer: RawFd) -> Result<OwnedFd> {
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    let mut control = nix::cmsg_space!(RawFd);
    let message = recvmsg::<()>(peer, &mut bytes, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut owners = vec![];
    for part in message.cmsgs() {
        if let ControlMessageOwned::ScmRights(numbers) = part {
            owners.extend(numbers.iter().map(|&n| unsafe { OwnedFd::from_raw_fd(n) }));
        }
    }
    match (message.bytes, owners.pop(), owners.len()) {
        (0, ..) => Err(ErrorKind::UnexpectedEof.into()),
        (_, Some(owner), 0) if !message.flags.contains(MsgFlags::MSG_CTRUNC) => Ok(owner),
        _ => Err(Error::new(ErrorKind::InvalidData, "not one descriptor")),
    }
}

pub async fn serve(peer: &UnixStream) -> Result<()> {
    let limit = Duration::from_secs(5);
    let listener = std::net::TcpListener::from(timeout(limit, receive(peer)).await??);
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let (mut client, _) = timeout(limit, listener.accept()).await??;
    client.write_all(b"hello\n").await
}
