//! The HTTP side of a connection: requests in, one after the other, until something has to wait.
use super::conn::{Conn, Pending, Phase, State, What};
use super::{CARRY_RESIDENT_BYTES, ConnId, Hub, SHARE_BYTES};
use crate::ack::Ack;
use crate::json::Scanner;
use crate::memory::{Clock, Memory};
use crate::metrics::Stage;
use crate::reject::Reject;
use crate::reply::{Manner, REPLY_BYTES_MAX};
use crate::sink::Sink;
use crate::wire::http1::{Action, Decoded, Incomplete, Request, limits};
use core::ops::Range;

/// Whether a request got in.
pub(super) enum Admission {
    Done,
    /// No room: try again when some came free.
    Later,
}

impl<M: Memory, C: Clock, S: Scanner, K: Sink> Hub<M, C, S, K> {
    pub(super) fn pump_http(&mut self, conn: &mut Conn<M>, id: ConnId, data: &mut [u8]) -> Range<usize> {
        let (mut at, mut end) = (0, data.len());
        let mut share = SHARE_BYTES;
        while conn.state == State::Open && (at < end || conn.held.is_some()) {
            if share == 0 {
                self.call_again(conn, id);
                break;
            }
            // An ordinary reply must have its room before anything is taken; that of a long list of
            // errors is checked when its length is known.
            if self.errors_free.is_empty() || !conn.has_reply_room(REPLY_BYTES_MAX) {
                self.block(conn, id);
                break;
            }
            let sampled_ns = if self.is_sampled() { self.clock.now_ns() } else { 0 };
            let request = match conn.held.take() {
                Some(request) => request,
                None => match conn.decoder.decode(&mut data[at..end]) {
                    Decoded::Request(request) => {
                        self.note_whole(conn);
                        request
                    }
                    Decoded::Incomplete(incomplete) => {
                        end = at + incomplete.keep;
                        if let Some(front) = &incomplete.body {
                            self.look_ahead(conn, id, &data[at..end], front);
                        }
                        self.note_incomplete(conn, id, &incomplete);
                        break;
                    }
                    Decoded::Reject(reject) => {
                        self.forget_ahead(conn);
                        self.refuse_and_close(conn, id, reject);
                        at = end;
                        break;
                    }
                },
            };
            if sampled_ns != 0 {
                let read_ns = if conn.phase == Phase::Idle { 0 } else { self.now_ns - conn.arrival.begun_ns };
                let frame_ns = self.clock.now_ns() - sampled_ns;
                self.metrics.stages.record(Stage::Read, read_ns);
                self.metrics.stages.record(Stage::Frame, frame_ns);
                conn.arrival.frame_ns = short(frame_ns);
            }
            match self.perform(conn, id, &request, &data[at..end]) {
                Admission::Done => {
                    self.sample = self.sample.wrapping_add(1);
                    self.forget_ahead(conn);
                    conn.end_request();
                    share = share.saturating_sub(request.consumed);
                    at += request.consumed;
                }
                Admission::Later => {
                    conn.held = Some(request);
                    self.block(conn, id);
                    break;
                }
            }
        }
        if conn.state == State::Open { at..end } else { end..end }
    }

    fn note_incomplete(&mut self, conn: &mut Conn<M>, id: ConnId, incomplete: &Incomplete) {
        let phase = if incomplete.in_body { Phase::Body } else { Phase::Head };
        if conn.phase == Phase::Idle {
            (conn.arrival.begun_ns, conn.arrival.unseen_ns) = (self.now_ns, self.unseen_ns);
        }
        if phase != conn.phase {
            conn.phase = phase;
            conn.phase_since_ns = self.now_ns;
            conn.body_bytes = 0;
        }
        conn.owes_continue |= incomplete.send_continue;
        // A body of unknown length may become the largest; its room is taken before it arrives, so that
        // bodies half received never wait for each other.
        let unknown = incomplete.open_ended && incomplete.keep > CARRY_RESIDENT_BYTES / 2;
        let wants = if unknown { limits::BODY_BYTES_MAX + limits::HEAD_BYTES_MAX } else { incomplete.wants };
        if wants > CARRY_RESIDENT_BYTES && wants > conn.charged && !self.charge(conn, wants) {
            self.block(conn, id);
            return;
        }
        conn.wants_budget = 0;
        if core::mem::take(&mut conn.blocked_since_ns) > 0 {
            // While it was not read from it could not be fast.
            (conn.phase_since_ns, conn.body_bytes) = (self.now_ns, 0);
        }
        if core::mem::take(&mut conn.owes_continue) {
            self.reply_later(conn, id, What::Continue);
        }
    }

    fn perform(&mut self, conn: &mut Conn<M>, id: ConnId, request: &Request, data: &[u8]) -> Admission {
        let manner = Manner {
            head_only: request.head_only,
            close: !request.keep_alive || self.draining,
            ..Manner::default()
        };
        let admission = match &request.action {
            Action::Ingest(ingest) => {
                let manner = Manner { minimal: ingest.minimal, ..manner };
                let (head, body) = (&data[..request.body.start], &data[request.body.clone()]);
                self.ingest(conn, id, ingest, body, head, manner)
            }
            Action::Options => {
                self.reply_later(conn, id, What::Options(manner));
                Admission::Done
            }
            Action::Refuse(reject) => {
                self.reply_later(conn, id, What::Reject(*reject, manner));
                Admission::Done
            }
        };
        if manner.close && matches!(admission, Admission::Done) {
            conn.state = State::Last;
        }
        admission
    }

    /// Answers in turn, then closes: what follows on this connection cannot be trusted to be a request.
    pub(super) fn refuse_and_close(&mut self, conn: &mut Conn<M>, id: ConnId, reject: Reject) {
        self.note_whole(conn);
        conn.arrival.whole_ns = self.now_ns;
        let manner = Manner { close: true, ..Manner::default() };
        self.reply_later(conn, id, What::Reject(reject, manner));
        conn.state = State::Last;
    }

    /// Queues a reply that waits for nothing but its turn.
    pub(super) fn reply_later(&mut self, conn: &mut Conn<M>, id: ConnId, what: What) {
        let reserved = REPLY_BYTES_MAX;
        conn.reserved += reserved;
        let (received_ns, arrival) = (self.now_ns, conn.arrival);
        let level = Ack::Accepted;
        conn.pending.push_back(Pending { ticket: 0, level, received_ns, arrival, reserved, what });
        self.settle_conn(conn, id, None);
    }
}

/// A time that a small place holds: what takes four seconds or more is told apart no further.
pub(super) fn short(ns: u64) -> u32 {
    u32::try_from(ns).unwrap_or(u32::MAX)
}
