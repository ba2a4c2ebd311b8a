// SPDX-License-Identifier: Apache-2.0
//! A message socket on tokio's reactor, which calls sendmsg and recvmsg when the reactor reports
//! the socket ready.

use crate::options::options;
use crate::{check, fail};
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use tokio::io::unix::AsyncFd;

const CONTROL_BYTES: usize = 2048;
const PATTERN: u8 = 0x5a;

#[repr(C, align(8))]
struct Control([MaybeUninit<u8>; CONTROL_BYTES]);

/// The message that every socket sends. It carries one /dev/null descriptor, repeated as often as
/// the options specify.
struct Outgoing {
    bytes: Vec<u8>,
    control: Vec<u64>,
    control_length: usize,
    _descriptor: OwnedFd,
}

fn outgoing() -> &'static Outgoing {
    static OUTGOING: OnceLock<Outgoing> = OnceLock::new();
    OUTGOING.get_or_init(|| {
        let descriptor: OwnedFd = match std::fs::File::open("/dev/null") {
            Ok(file) => file.into(),
            Err(error) => fail(format!("/dev/null: {error}")),
        };
        let mut control = vec![0u64; CONTROL_BYTES / 8];
        let control_length = encode_rights(&mut control, descriptor.as_raw_fd(), options().fds);
        Outgoing {
            bytes: vec![PATTERN; options().bytes],
            control,
            control_length,
            _descriptor: descriptor,
        }
    })
}

/// Opens the descriptors that all sockets share before the leak check counts.
pub fn prepare() {
    outgoing();
}

fn encode_rights(control: &mut [u64], descriptor: RawFd, count: usize) -> usize {
    if count == 0 {
        return 0;
    }
    let length = (count * mem::size_of::<RawFd>()) as u32;
    // SAFETY: `control` has room for 253 descriptors, and its elements are aligned as cmsghdr is.
    unsafe {
        let header = control.as_mut_ptr().cast::<libc::cmsghdr>();
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(length) as _;
        let data = libc::CMSG_DATA(header).cast::<RawFd>();
        for index in 0..count {
            data.add(index).write_unaligned(descriptor);
        }
        libc::CMSG_SPACE(length) as usize
    }
}

pub struct Socket {
    fd: AsyncFd<OwnedFd>,
    bytes: Vec<u8>,
    /// The number of bytes of the current message that the stream has delivered so far.
    partial: usize,
    /// The number of bytes of the current message that the stream has accepted so far.
    sent: usize,
}

impl Socket {
    pub fn new(fd: OwnedFd) -> Socket {
        let fd = AsyncFd::new(fd).unwrap_or_else(|error| fail(format!("AsyncFd: {error}")));
        Socket {
            fd,
            bytes: vec![0; options().bytes],
            partial: 0,
            sent: 0,
        }
    }

    pub async fn send(&mut self) {
        loop {
            let mut guard = self
                .fd
                .writable()
                .await
                .unwrap_or_else(|error| fail(format!("writable: {error}")));
            match guard.try_io(|fd| send_rest(fd.as_raw_fd(), self.sent)) {
                Ok(Ok(count)) => self.sent += count,
                Ok(Err(error)) => fail(format!("sendmsg: {error}")),
                Err(_would_block) => continue,
            }
            if self.sent == options().bytes {
                self.sent = 0;
                return;
            }
        }
    }

    /// Receives one message and closes its descriptors. Returns false if the peer has closed.
    pub async fn receive(&mut self) -> bool {
        loop {
            let mut guard = self
                .fd
                .readable()
                .await
                .unwrap_or_else(|error| fail(format!("readable: {error}")));
            let room = options().bytes - self.partial;
            let count = match guard
                .try_io(|fd| receive_piece(fd.as_raw_fd(), &mut self.bytes[..room], self.partial))
            {
                Ok(Ok(0)) => return false,
                Ok(Ok(count)) => count,
                Ok(Err(error)) => fail(format!("recvmsg: {error}")),
                Err(_would_block) => continue,
            };
            self.partial += count;
            if self.partial == options().bytes {
                self.partial = 0;
                return true;
            }
            if options().kind != libc::SOCK_STREAM {
                fail(format!(
                    "{count} bytes arrived instead of {}",
                    options().bytes
                ));
            }
        }
    }
}

/// Sends the message from byte `offset` on. Its descriptors are sent with its first byte.
pub fn send_rest(fd: RawFd, offset: usize) -> io::Result<usize> {
    let message = outgoing();
    let rest = &message.bytes[offset..];
    let mut payload = libc::iovec {
        iov_base: rest.as_ptr() as *mut _,
        iov_len: rest.len(),
    };
    // SAFETY: a msghdr of zeros is valid; the memory that it points to outlives the call, which
    // only reads it.
    let result = unsafe {
        let mut header: libc::msghdr = mem::zeroed();
        header.msg_iov = &mut payload;
        header.msg_iovlen = 1;
        if offset == 0 && message.control_length > 0 {
            header.msg_control = message.control.as_ptr() as *mut _;
            header.msg_controllen = message.control_length as _;
        }
        libc::sendmsg(fd, &header, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
    };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn receive_piece(fd: RawFd, room: &mut [u8], partial: usize) -> io::Result<usize> {
    let mut control = Control([MaybeUninit::uninit(); CONTROL_BYTES]);
    let mut payload = libc::iovec {
        iov_base: room.as_mut_ptr().cast(),
        iov_len: room.len(),
    };
    // SAFETY: a msghdr of zeros is valid; the memory that it points to outlives the call and has the
    // stated lengths.
    let (result, header) = unsafe {
        let mut header: libc::msghdr = mem::zeroed();
        header.msg_iov = &mut payload;
        header.msg_iovlen = 1;
        if options().fds > 0 {
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_BYTES as _;
        }
        (
            libc::recvmsg(fd, &mut header, libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT),
            header,
        )
    };
    let count = usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has filled the control area that the header describes.
    let descriptors = unsafe { close_descriptors(&header) };
    if count > 0 {
        check_message(&room[..count], partial, descriptors, header.msg_flags);
    }
    Ok(count)
}

unsafe fn close_descriptors(header: &libc::msghdr) -> usize {
    let mut count = 0;
    let mut item = libc::CMSG_FIRSTHDR(header);
    while !item.is_null() {
        if (*item).cmsg_level == libc::SOL_SOCKET && (*item).cmsg_type == libc::SCM_RIGHTS {
            let length = (*item).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
            let data = libc::CMSG_DATA(item).cast::<RawFd>();
            for index in 0..length / mem::size_of::<RawFd>() {
                check(
                    libc::close(data.add(index).read_unaligned()),
                    "close of a received descriptor",
                );
                count += 1;
            }
        }
        item = libc::CMSG_NXTHDR(header, item);
    }
    count
}

fn check_message(bytes: &[u8], partial: usize, descriptors: usize, flags: i32) {
    if options().fds > 0 && flags & libc::MSG_CTRUNC != 0 {
        fail("truncated control data");
    }
    if flags & libc::MSG_TRUNC != 0 {
        fail("truncated payload");
    }
    if bytes[0] != PATTERN || bytes[bytes.len() - 1] != PATTERN {
        fail("a received payload has the wrong bytes");
    }
    // The buffer never has room for more than the rest of one message, and descriptors arrive with
    // its first byte.
    let expected = if partial == 0 { options().fds } else { 0 };
    if descriptors != expected {
        fail(format!(
            "{descriptors} descriptors arrived instead of {expected}"
        ));
    }
}

// MARK: Opening

pub fn open_pair() -> (OwnedFd, OwnedFd) {
    let mut fds = [0; 2];
    let kind = options().kind | libc::SOCK_CLOEXEC;
    // SAFETY: `fds` has room for two; the descriptors are new and have no other owner.
    unsafe {
        check(
            libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()),
            "socketpair",
        );
        (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]))
    }
}

fn open_socket() -> OwnedFd {
    // SAFETY: the descriptor is new and has no other owner.
    unsafe {
        OwnedFd::from_raw_fd(check(
            libc::socket(libc::AF_UNIX, options().kind | libc::SOCK_CLOEXEC, 0),
            "socket",
        ))
    }
}

pub struct Listener {
    fd: AsyncFd<OwnedFd>,
    address: libc::sockaddr_un,
    address_length: libc::socklen_t,
}

impl Listener {
    /// Listens on a free abstract address. The kernel chooses it when bind passes the family alone.
    pub fn new() -> Listener {
        let fd = open_socket();
        // SAFETY: a sockaddr_un of zeros is valid, and the lengths are those of the memory passed.
        let (address, address_length) = unsafe {
            let mut address: libc::sockaddr_un = mem::zeroed();
            address.sun_family = libc::AF_UNIX as _;
            let pointer = (&mut address as *mut libc::sockaddr_un).cast::<libc::sockaddr>();
            check(
                libc::bind(
                    fd.as_raw_fd(),
                    pointer,
                    mem::size_of::<libc::sa_family_t>() as _,
                ),
                "bind",
            );
            let mut length = mem::size_of_val(&address) as libc::socklen_t;
            check(
                libc::getsockname(fd.as_raw_fd(), pointer, &mut length),
                "getsockname",
            );
            check(libc::listen(fd.as_raw_fd(), libc::SOMAXCONN), "listen");
            // accept has no counterpart of MSG_DONTWAIT.
            check(
                libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK),
                "fcntl",
            );
            (address, length)
        };
        let fd = AsyncFd::new(fd).unwrap_or_else(|error| fail(format!("AsyncFd: {error}")));
        Listener {
            fd,
            address,
            address_length,
        }
    }

    /// Connects to the listener. On a Unix socket, connect does not wait for accept while the
    /// backlog has room.
    pub fn connect(&self) -> OwnedFd {
        let client = open_socket();
        let pointer = (&self.address as *const libc::sockaddr_un).cast::<libc::sockaddr>();
        // SAFETY: the address has the stated length.
        check(
            unsafe { libc::connect(client.as_raw_fd(), pointer, self.address_length) },
            "connect",
        );
        client
    }

    pub async fn accept(&self) -> OwnedFd {
        loop {
            let mut guard = self
                .fd
                .readable()
                .await
                .unwrap_or_else(|error| fail(format!("readable: {error}")));
            let attempt = guard.try_io(|fd| {
                let null = std::ptr::null_mut();
                // SAFETY: the call requests no address; the descriptor is new and has no other owner.
                unsafe {
                    match libc::accept4(fd.as_raw_fd(), null, null.cast(), libc::SOCK_CLOEXEC) {
                        -1 => Err(io::Error::last_os_error()),
                        accepted => Ok(OwnedFd::from_raw_fd(accepted)),
                    }
                }
            });
            match attempt {
                Ok(Ok(accepted)) => return accepted,
                Ok(Err(error)) => fail(format!("accept4: {error}")),
                Err(_would_block) => continue,
            }
        }
    }
}
