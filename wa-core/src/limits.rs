//! Every limit of the system in one place: sizes, counts, windows and rates, with the contract's defaults.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A token bucket: `count` tokens, refilled evenly over `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Tokens a full bucket holds.
    pub count: u32,
    /// How long an empty bucket takes to fill.
    pub window: Duration,
}

impl RateLimit {
    /// `count` per `window`.
    #[must_use]
    pub const fn new(count: u32, window: Duration) -> Self {
        Self { count, window }
    }
}

/// The text was not a rate of the form "30/10s".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected count/window such as \"30/10s\", \"100/1m\" or \"3/5m\"")]
pub struct InvalidRate;

impl FromStr for RateLimit {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let (count, window) = text.split_once('/').ok_or(InvalidRate)?;
        let count: u32 = count.trim().parse().map_err(|_| InvalidRate)?;
        let window = parse_duration(window.trim()).ok_or(InvalidRate)?;
        if count == 0 || window.is_zero() {
            return Err(InvalidRate);
        }
        Ok(Self { count, window })
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}ms", self.count, self.window.as_millis())
    }
}

/// Reads "250ms", "15s", "5m", "720h" or "30d"; a bare unit such as "m" counts as one. `None` for anything else.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(split);
    let count: u64 = if count.is_empty() { 1 } else { count.parse().ok()? };
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(count.checked_mul(millis)?))
}

/// All limits. The defaults are those of the contract, sections 3.6, 7, 8 and 10.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Whether rate limits apply. OTP attempts and sizes always do.
    pub enabled: bool,
    /// Codes sent to one phone.
    pub otp_send: RateLimit,
    /// Codes tried for one phone.
    pub otp_verify: RateLimit,
    /// REST requests of one user.
    pub api_user: RateLimit,
    /// REST requests of one address without a valid token.
    pub api_ip: RateLimit,
    /// Contact syncs of one user.
    pub contacts_sync: RateLimit,
    /// Uploads of one user.
    pub upload: RateLimit,
    /// Socket events of one user that change something: send, edit, delete, react, calls.
    pub ws_messages: RateLimit,
    /// All other socket events of one user.
    pub ws_other: RateLimit,

    /// Members of a group, the creator included.
    pub group_size: usize,
    /// Characters of a group's name.
    pub group_name_length: usize,
    /// Characters of a group's description.
    pub group_description_length: usize,
    /// Characters of a text message.
    pub text_length: usize,
    /// Characters of a caption.
    pub caption_length: usize,
    /// Characters of a `client_msg_id`.
    pub client_msg_id_length: usize,
    /// Characters of a display name.
    pub display_name_length: usize,
    /// Characters of a status text.
    pub status_text_length: usize,
    /// Characters of a device name; longer ones are cut.
    pub device_name_length: usize,
    /// Characters of a file name, place name or address in a payload.
    pub label_length: usize,
    /// Mentions in one text message.
    pub mentions: usize,
    /// Samples of an audio waveform.
    pub waveform: usize,
    /// Phone numbers in one contact sync.
    pub contacts_sync_numbers: usize,
    /// How long after sending a message can be edited.
    pub edit_window: Duration,
    /// Chats to which one request forwards a message.
    pub forward_targets: usize,
    /// Expired messages deleted in one transaction.
    pub expiry_batch: usize,
    /// How long the answer to a refresh is kept for a repeat with the same `Idempotency-Key`.
    pub refresh_repeat_window: Duration,

    /// Bytes of an uploaded picture.
    pub image_bytes: usize,
    /// Bytes of an uploaded film.
    pub video_bytes: usize,
    /// Bytes of an uploaded voice note or piece of music.
    pub audio_bytes: usize,
    /// Bytes of an uploaded file of another kind.
    pub document_bytes: usize,
    /// Bytes of a picture of a user or group.
    pub avatar_bytes: usize,
    /// Uploads of one node that are under way at a time; further ones are told to come back.
    pub uploads_at_once: usize,
    /// Of these, uploads of one user, unless [`Self::enabled`] is off.
    pub uploads_of_user: usize,
    /// How long an upload may go without a single byte coming in.
    pub upload_idle: Duration,
    /// Bytes in a second at which an upload must come in, over as long as [`Self::upload_idle`] of waiting for it.
    pub upload_rate: usize,
    /// How long an upload may take.
    pub upload_timeout: Duration,
    /// How long a presigned URL is good.
    pub media_url_ttl: Duration,
    /// How long one is given out again.
    pub media_url_fresh: Duration,
    /// Files whose URLs are kept at hand.
    pub media_urls: usize,
    /// How long a file may be without anything that refers to it.
    pub orphan_age: Duration,
    /// Files the sweep looks at in one go.
    pub sweep_batch: usize,

    /// Bytes of a JSON request body.
    pub json_body: usize,
    /// How long a REST request may take.
    pub request_timeout: Duration,
    /// How long a client may take to send the head of a request.
    pub header_timeout: Duration,
    /// How long a client may take none of what is sent to it.
    pub write_timeout: Duration,
    /// TCP connections of one node; further ones wait to be accepted.
    pub connections: usize,
    /// Bytes of one inbound socket message.
    pub ws_frame: usize,
    /// Bytes waiting for one slow socket before it is closed with 4008. A single event may be longer.
    pub ws_queue_bytes: usize,
    /// How long one socket write may take.
    pub ws_write_timeout: Duration,
    /// How long a socket may be silent.
    pub ws_idle: Duration,
    /// How often the server pings.
    pub ws_ping: Duration,
    /// Bad frames in a row before a socket is closed with 1008.
    pub ws_bad_frames: u32,
    /// Bytes of a `req_id` as it is written in JSON.
    pub ws_req_id: usize,
    /// Requests of one socket being answered at a time; further ones are read when one is done.
    pub ws_in_flight: usize,
    /// Bytes of answers waiting for one socket before no further request of it is read or begun.
    pub ws_answer_bytes: usize,
    /// How long a socket that was told to close may take to do so.
    pub ws_linger: Duration,
    /// Sockets of one node.
    pub ws_connections: usize,
    /// Undelivered messages pushed on connect; the rest is announced by `resync`.
    pub connect_backlog: usize,
    /// Message ids in one `message.delivered`.
    pub receipt_ids: usize,
    /// Users of one `presence.subscribe`, and of all subscriptions of a socket together.
    pub presence_subscriptions: usize,
    /// Names of senders kept at hand.
    pub names: usize,
    /// How long a name is taken for the present one; one changed by another node shows after this.
    pub names_fresh: Duration,
    /// How often a request is decided anew because what it was decided on changed under it.
    pub send_decisions: u32,
    /// How long a typing notice holds.
    pub typing_ttl: Duration,
    /// Typing notices held at a time; further ones replace nothing and are dropped.
    pub typing_notices: usize,

    /// Events waiting for one subscriber of the memory bus before publishing waits.
    pub bus_queue: usize,

    /// Characters of a text status.
    pub status_length: usize,
    /// Statuses that one user shows at a time.
    pub statuses: usize,
    /// Statuses of contacts in one answer, the newest.
    pub status_list: usize,
    /// Viewers of one status that are named, the first.
    pub status_viewers: usize,
    /// Push tokens of one user; past these the one registered longest ago goes.
    pub device_tokens: usize,
    /// Pushes on their way at a time, of phones and of browsers each.
    pub push_in_flight: usize,
    /// Windows of groups kept at hand, each of one recipient; past these every message is noted on its own.
    pub push_windows: usize,

    /// Messages in one answer to sync, at the most, and by default.
    pub sync_messages: usize,
    /// Messages in one answer to sync when the request names no limit.
    pub sync_messages_default: usize,
    /// Chats in one answer to sync.
    pub sync_chats: usize,
    /// Chat entries in the map a sync request sends.
    pub sync_known_chats: usize,
    /// Entries of a page, at the most.
    pub page: usize,
    /// Messages of a history page when the request names no limit.
    pub history_page_default: usize,
    /// Entries of a list page when the request names no limit.
    pub list_page_default: usize,

    /// Characters of a search query.
    pub search_query_length: usize,
    /// Words and phrases of a search query.
    pub search_query_words: usize,
    /// The newest matches that are ranked among each other. Older ones follow behind them.
    pub search_window: usize,
    /// Of a search through many chats, the newest matches of each that are ranked in any case.
    pub search_window_per_chat: usize,
    /// Chats one search goes through, the most recently active ones.
    pub search_chats: usize,
    /// Messages a search takes into the index, if it is behind, before it looks there.
    pub search_catch_up: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const fn per(count: u32, seconds: u64) -> RateLimit {
            RateLimit::new(count, Duration::from_secs(seconds))
        }
        Self {
            enabled: true,
            otp_send: per(3, 300),
            otp_verify: per(5, 300),
            api_user: per(100, 60),
            api_ip: per(30, 60),
            contacts_sync: per(5, 60),
            upload: per(10, 60),
            ws_messages: per(30, 10),
            ws_other: per(60, 10),
            group_size: 256,
            group_name_length: 100,
            group_description_length: 512,
            text_length: 4096,
            caption_length: 1024,
            client_msg_id_length: 128,
            display_name_length: 64,
            status_text_length: 140,
            device_name_length: 64,
            label_length: 255,
            mentions: 256,
            waveform: 256,
            contacts_sync_numbers: 1000,
            edit_window: Duration::from_secs(15 * 60),
            forward_targets: 20,
            expiry_batch: 100,
            refresh_repeat_window: Duration::from_secs(30),
            image_bytes: 16 << 20,
            video_bytes: 64 << 20,
            audio_bytes: 16 << 20,
            document_bytes: 100 << 20,
            avatar_bytes: 5 << 20,
            uploads_at_once: 64,
            uploads_of_user: 16,
            upload_idle: Duration::from_secs(30),
            upload_rate: 2048,
            upload_timeout: Duration::from_secs(15 * 60),
            media_url_ttl: Duration::from_secs(60 * 60),
            media_url_fresh: Duration::from_secs(55 * 60),
            media_urls: 10_000,
            orphan_age: Duration::from_secs(24 * 60 * 60),
            sweep_batch: 100,
            json_body: 1 << 20,
            request_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            connections: 100_000,
            ws_frame: 64 << 10,
            ws_queue_bytes: 1 << 20,
            ws_write_timeout: Duration::from_secs(10),
            ws_idle: Duration::from_secs(60),
            ws_ping: Duration::from_secs(25),
            ws_bad_frames: 20,
            ws_req_id: 128,
            ws_in_flight: 64,
            ws_answer_bytes: 64 << 10,
            ws_linger: Duration::from_secs(2),
            ws_connections: 100_000,
            connect_backlog: 500,
            receipt_ids: 1000,
            presence_subscriptions: 500,
            names: 10_000,
            names_fresh: Duration::from_secs(60),
            send_decisions: 8,
            typing_ttl: Duration::from_secs(5),
            typing_notices: 100_000,
            bus_queue: 1024,
            status_length: 700,
            statuses: 100,
            status_list: 1000,
            status_viewers: 1000,
            device_tokens: 20,
            push_in_flight: 64,
            push_windows: 100_000,
            sync_messages: 1000,
            sync_messages_default: 500,
            sync_chats: 1000,
            sync_known_chats: 10_000,
            page: 100,
            history_page_default: 50,
            list_page_default: 20,
            search_query_length: 256,
            search_query_words: 32,
            search_window: 500,
            search_window_per_chat: 20,
            search_chats: 1000,
            search_catch_up: 2000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_count_per_window() {
        assert_eq!("30/10s".parse(), Ok(RateLimit::new(30, Duration::from_secs(10))));
        assert_eq!("100/m".parse(), Ok(RateLimit::new(100, Duration::from_secs(60))));
        assert_eq!("3 / 5m".parse(), Ok(RateLimit::new(3, Duration::from_secs(300))));
        for bad in ["", "30", "0/1s", "1/0s", "x/1s", "1/1", "1/1w", "-1/1s", "99999999999/1s", "1/99999999999999999999d"] {
            assert_eq!(bad.parse::<RateLimit>(), Err(InvalidRate), "{bad}");
        }
    }
}
