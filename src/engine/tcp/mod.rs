//! TCP: bytes out and in, through a ring or with one system call after the other.

mod file;
mod msg_zc;
mod receive_mark;
mod sendfile;
mod splice;
mod sync;
mod uring_receive;
mod uring_send;

pub(super) use file::{FileReceive, FileSend};
pub(super) use msg_zc::MsgZc;
pub(super) use sendfile::Sendfile;
pub(super) use splice::Splice;
pub(super) use sync::{SyncReceive, SyncSend};
pub(super) use uring_receive::UringReceive;
pub(super) use uring_send::UringSend;
