//! The section `[limits]`: every limit of the core under its own name, each within bounds that keep the server working.

use std::time::Duration;

use wa_core::limits::Limits;

use super::error::Origin;
use super::reader::Reader;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const KB: usize = 1 << 10;
const MB: usize = 1 << 20;

/// Reads all limits. The literal names every field on purpose: a new limit does not compile before it can be configured.
pub(super) fn read(from: &mut Reader) -> Limits {
    let default = Limits::default();
    let mut limits = Limits {
        enabled: from.bool("limits.enabled", default.enabled),
        otp_send: from.rate("limits.otp_send", default.otp_send),
        otp_verify: from.rate("limits.otp_verify", default.otp_verify),
        api_user: from.rate("limits.api_user", default.api_user),
        api_ip: from.rate("limits.api_ip", default.api_ip),
        contacts_sync: from.rate("limits.contacts_sync", default.contacts_sync),
        upload: from.rate("limits.upload", default.upload),
        ws_messages: from.rate("limits.ws_messages", default.ws_messages),
        ws_other: from.rate("limits.ws_other", default.ws_other),

        group_size: from.count("limits.group_size", default.group_size, 2..=100_000),
        group_name_length: from.count("limits.group_name_length", default.group_name_length, 1..=100),
        group_description_length: from.count("limits.group_description_length", default.group_description_length, 1..=512),
        text_length: from.count("limits.text_length", default.text_length, 1..=65_536),
        caption_length: from.count("limits.caption_length", default.caption_length, 1..=65_536),
        client_msg_id_length: from.count("limits.client_msg_id_length", default.client_msg_id_length, 36..=128),
        display_name_length: from.count("limits.display_name_length", default.display_name_length, 1..=64),
        status_text_length: from.count("limits.status_text_length", default.status_text_length, 1..=140),
        device_name_length: from.count("limits.device_name_length", default.device_name_length, 1..=255),
        label_length: from.count("limits.label_length", default.label_length, 1..=4096),
        mentions: from.count("limits.mentions", default.mentions, 0..=10_000),
        waveform: from.count("limits.waveform", default.waveform, 0..=10_000),
        contacts_sync_numbers: from.count("limits.contacts_sync_numbers", default.contacts_sync_numbers, 1..=10_000),
        edit_window: from.duration("limits.edit_window", default.edit_window, Duration::ZERO..=365 * DAY),
        forward_targets: from.count("limits.forward_targets", default.forward_targets, 1..=256),
        expiry_batch: from.count("limits.expiry_batch", default.expiry_batch, 1..=10_000),
        refresh_repeat_window: from.duration("limits.refresh_repeat_window", default.refresh_repeat_window, Duration::ZERO..=HOUR),

        image_bytes: from.size("limits.image_bytes", default.image_bytes, KB..=4096 * MB),
        video_bytes: from.size("limits.video_bytes", default.video_bytes, KB..=4096 * MB),
        audio_bytes: from.size("limits.audio_bytes", default.audio_bytes, KB..=4096 * MB),
        document_bytes: from.size("limits.document_bytes", default.document_bytes, KB..=4096 * MB),
        avatar_bytes: from.size("limits.avatar_bytes", default.avatar_bytes, KB..=4096 * MB),
        uploads_at_once: from.count("limits.uploads_at_once", default.uploads_at_once, 1..=10_000),
        uploads_of_user: from.count("limits.uploads_of_user", default.uploads_of_user, 1..=10_000),
        upload_idle: from.duration("limits.upload_idle", default.upload_idle, 100 * MS..=600 * SECOND),
        upload_rate: from.count("limits.upload_rate", default.upload_rate, 1..=1 << 20),
        upload_timeout: from.duration("limits.upload_timeout", default.upload_timeout, SECOND..=24 * HOUR),
        media_url_ttl: from.duration("limits.media_url_ttl", default.media_url_ttl, SECOND..=7 * DAY),
        media_url_fresh: from.duration("limits.media_url_fresh", default.media_url_fresh, Duration::ZERO..=7 * DAY),
        media_urls: from.count("limits.media_urls", default.media_urls, 1..=10_000_000),
        orphan_age: from.duration("limits.orphan_age", default.orphan_age, HOUR..=365 * DAY),
        sweep_batch: from.count("limits.sweep_batch", default.sweep_batch, 1..=10_000),

        json_body: from.size("limits.json_body", default.json_body, KB..=64 * MB),
        request_timeout: from.duration("limits.request_timeout", default.request_timeout, 100 * MS..=600 * SECOND),
        header_timeout: from.duration("limits.header_timeout", default.header_timeout, 100 * MS..=600 * SECOND),
        write_timeout: from.duration("limits.write_timeout", default.write_timeout, 100 * MS..=600 * SECOND),
        connections: from.count("limits.connections", default.connections, 1..=10_000_000),
        ws_frame: from.size("limits.ws_frame", default.ws_frame, KB..=16 * MB),
        ws_queue_bytes: from.size("limits.ws_queue_bytes", default.ws_queue_bytes, 4 * KB..=1024 * MB),
        ws_write_timeout: from.duration("limits.ws_write_timeout", default.ws_write_timeout, 100 * MS..=600 * SECOND),
        ws_idle: from.duration("limits.ws_idle", default.ws_idle, 100 * MS..=24 * HOUR),
        ws_ping: from.duration("limits.ws_ping", default.ws_ping, 10 * MS..=24 * HOUR),
        ws_bad_frames: narrow(from.count("limits.ws_bad_frames", wide(default.ws_bad_frames), 1..=1_000_000)),
        ws_connections: from.count("limits.ws_connections", default.ws_connections, 1..=10_000_000),
        ws_req_id: from.count("limits.ws_req_id", default.ws_req_id, 36..=4096),
        ws_in_flight: from.count("limits.ws_in_flight", default.ws_in_flight, 1..=10_000),
        ws_answer_bytes: from.size("limits.ws_answer_bytes", default.ws_answer_bytes, KB..=1024 * MB),
        ws_linger: from.duration("limits.ws_linger", default.ws_linger, 10 * MS..=600 * SECOND),
        connect_backlog: from.count("limits.connect_backlog", default.connect_backlog, 0..=100_000),
        receipt_ids: from.count("limits.receipt_ids", default.receipt_ids, 1..=100_000),
        presence_subscriptions: from.count("limits.presence_subscriptions", default.presence_subscriptions, 1..=100_000),
        names: from.count("limits.names", default.names, 1..=100_000_000),
        names_fresh: from.duration("limits.names_fresh", default.names_fresh, Duration::ZERO..=DAY),
        send_decisions: narrow(from.count("limits.send_decisions", wide(default.send_decisions), 1..=1000)),
        typing_ttl: from.duration("limits.typing_ttl", default.typing_ttl, 10 * MS..=600 * SECOND),
        typing_notices: from.count("limits.typing_notices", default.typing_notices, 1..=100_000_000),
        status_length: from.count("limits.status_length", default.status_length, 1..=65_536),
        statuses: from.count("limits.statuses", default.statuses, 1..=10_000),
        status_list: from.count("limits.status_list", default.status_list, 1..=10_000),
        status_viewers: from.count("limits.status_viewers", default.status_viewers, 1..=100_000),
        device_tokens: from.count("limits.device_tokens", default.device_tokens, 1..=1000),
        push_in_flight: from.count("limits.push_in_flight", default.push_in_flight, 1..=10_000),
        push_windows: from.count("limits.push_windows", default.push_windows, 0..=100_000_000),
        bus_queue: from.count("limits.bus_queue", default.bus_queue, 1..=1_000_000),

        sync_messages: from.count("limits.sync_messages", default.sync_messages, 1..=100_000),
        sync_messages_default: from.count("limits.sync_messages_default", default.sync_messages_default, 1..=100_000),
        sync_chats: from.count("limits.sync_chats", default.sync_chats, 1..=100_000),
        sync_known_chats: from.count("limits.sync_known_chats", default.sync_known_chats, 1..=1_000_000),
        page: from.count("limits.page", default.page, 1..=10_000),
        history_page_default: from.count("limits.history_page_default", default.history_page_default, 1..=10_000),
        list_page_default: from.count("limits.list_page_default", default.list_page_default, 1..=10_000),

        search_query_length: from.count("limits.search_query_length", default.search_query_length, 1..=1000),
        search_query_words: from.count("limits.search_query_words", default.search_query_words, 1..=100),
        search_window: from.count("limits.search_window", default.search_window, 10..=10_000),
        search_window_per_chat: from.count("limits.search_window_per_chat", default.search_window_per_chat, 1..=10_000),
        search_chats: from.count("limits.search_chats", default.search_chats, 1..=100_000),
        search_catch_up: from.count("limits.search_catch_up", default.search_catch_up, 0..=100_000),
    };
    check_together(from, &mut limits);
    limits
}

fn check_together(from: &mut Reader, limits: &mut Limits) {
    if limits.ws_ping >= limits.ws_idle {
        from.refuse("limits.ws_ping", "is not shorter than limits.ws_idle, so that every quiet socket would be closed", "ping at least twice per ws_idle");
    }
    if limits.media_url_fresh >= limits.media_url_ttl {
        let fix = "give out a URL again for a few minutes less than it is good";
        from.refuse("limits.media_url_fresh", "is not shorter than limits.media_url_ttl, so that expired URLs would be given out", fix);
    }
    for (key, default, most, name) in [
        ("limits.sync_messages_default", &mut limits.sync_messages_default, limits.sync_messages, "sync_messages"),
        ("limits.history_page_default", &mut limits.history_page_default, limits.page, "page"),
        ("limits.list_page_default", &mut limits.list_page_default, limits.page, "page"),
    ] {
        if from.origin(key) == Origin::Default {
            *default = most.min(*default);
        } else if *default > most {
            from.refuse(key, format!("is {default}, above limits.{name}, which is {most}"), format!("lower it, or raise limits.{name}"));
        }
    }
}

const fn wide(number: u32) -> usize {
    number as usize
}

/// What was read is far below the bounds of the type.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
