//! The contract of `ReceiptStore`.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use wa_core::event::{Fact, MessageStatus};
use wa_core::id::{ChatId, UserId};
use wa_core::message::{Message, Seq};
use wa_core::receipt::{Marks, Receipted, SeqRange, Status};

use super::Subject;
use super::people::text;

async fn marks(s: &Subject, chat: ChatId, user: UserId) -> Marks {
    let mut all = s.receipts.marks(&[chat]).await.expect("marks are read");
    all.remove(&chat).and_then(|mut of_chat| of_chat.remove(&user)).unwrap_or_default()
}

/// The states of these messages with the user.
async fn states(s: &Subject, user: UserId, messages: &[Message]) -> Vec<Status> {
    let marks = marks(s, messages[0].chat_id, user).await;
    messages.iter().map(|message| marks.status_of(message.seq)).collect()
}

async fn announced(s: &Subject) -> Vec<MessageStatus> {
    s.facts().await.into_iter().filter_map(|fact| if let Fact::MessageStatus(status) = fact { Some(status) } else { None }).collect()
}

/// Case.
pub async fn a_delivered_receipt_covers_the_named_messages_only(s: &Subject) {
    use Status::{Delivered, Sent};
    let (a, b, chat) = s.direct().await;
    let sent = s.send_many(chat, a, 6).await;
    assert!(s.deliver(b, &[&sent[1], &sent[2], &sent[4]]).await);
    assert_eq!(states(s, b, &sent).await, [Sent, Delivered, Delivered, Sent, Delivered, Sent]);
    let given = marks(s, chat, b).await;
    assert_eq!((given.delivered_up_to, given.read_up_to), (Seq::ZERO, Seq::ZERO));
    assert!(s.deliver(b, &[&sent[0]]).await);
    assert!(s.deliver(b, &[&sent[3]]).await);
    let given = marks(s, chat, b).await;
    assert_eq!((given.delivered_up_to, given.delivered_beyond), (Seq::new(5), vec![]));
    assert_eq!(marks(s, chat, a).await, Marks::default(), "and the named user only");
}

/// Case.
pub async fn reading_covers_everything_older(s: &Subject) {
    use Status::{Read, Sent};
    let (a, b, chat) = s.direct().await;
    let sent = s.send_many(chat, a, 4).await;
    assert!(s.read(b, &sent[2]).await);
    assert_eq!(states(s, b, &sent).await, [Read, Read, Read, Sent]);
    let [status] = announced(s).await.try_into().expect("one event for the whole run");
    assert_eq!((status.status, status.from_seq, status.seq, status.message_id), (Read, Some(Seq::new(1)), Seq::new(3), sent[2].id));
}

/// Case.
pub async fn read_implies_delivered(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send_many(chat, a, 3).await;
    s.deliver(b, &[&sent[2]]).await;
    s.env.advance(Duration::from_secs(1));
    assert!(s.read(b, &sent[1]).await);
    let given = marks(s, chat, b).await;
    assert_eq!((given.delivered_up_to, given.read_up_to, given.delivered_beyond), (Seq::new(3), Seq::new(2), vec![]));
    assert!(!s.deliver(b, &[&sent[0]]).await, "what was read cannot rise to delivered");
    let times = s.receipts.times(chat, Seq::new(1)).await.expect("times are read");
    assert_eq!((times[0].delivered_at, times[0].read_at), (Some(s.now()), Some(s.now())));
}

/// Case.
pub async fn receipts_only_rise(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send_many(chat, a, 5).await;
    s.read(b, &sent[3]).await;
    let before = marks(s, chat, b).await;
    assert!(!s.read(b, &sent[1]).await);
    assert!(!s.deliver(b, &[&sent[0], &sent[3]]).await);
    assert_eq!(marks(s, chat, b).await, before);
    assert!(s.deliver(b, &[&sent[0], &sent[4]]).await, "the part that rises is taken");
    assert_eq!(states(s, b, &sent).await, [Status::Read, Status::Read, Status::Read, Status::Read, Status::Delivered]);
}

/// Case.
pub async fn a_repeated_receipt_changes_and_announces_nothing(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send_many(chat, a, 3).await;
    s.deliver(b, &[&sent[0], &sent[2]]).await;
    s.read(b, &sent[0]).await;
    s.outbox.drain().await;
    let before = marks(s, chat, b).await;
    assert!(!s.deliver(b, &[&sent[0], &sent[2]]).await);
    assert!(!s.read(b, &sent[0]).await);
    assert!(s.facts().await.is_empty());
    assert_eq!(marks(s, chat, b).await, before);
    // Several times in one receipt is once.
    assert!(s.deliver(b, &[&sent[1], &sent[1]]).await);
    assert_eq!(s.facts().await.len(), 1);
    // At the same moment as well: one rises, and one event tells of it.
    let more = s.send(chat, a, "more").await;
    s.outbox.drain().await;
    let rose = join_all((0..6).map(|_| s.read(b, &more))).await;
    assert_eq!(rose.iter().filter(|rose| **rose).count(), 1);
    assert_eq!(s.facts().await.len(), 1);
}

/// Case.
pub async fn own_messages_leave_no_gap_in_the_delivered_mark(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    s.send_many(chat, b, 2).await;
    let third = s.send(chat, a, "third").await;
    let own = s.send(chat, b, "fourth").await;
    let mut withheld = s.message(chat, a, text("fifth, withheld")).await;
    withheld.withheld_from = Some(b);
    let withheld = s.append(withheld).await;
    let sixth = s.send(chat, a, "sixth").await;
    let seventh = s.send(chat, a, "seventh").await;
    s.send(chat, b, "eighth").await;
    let ninth = s.send(chat, a, "ninth").await;
    assert!(!s.deliver(b, &[&own, &withheld]).await, "own and withheld messages take no receipt");
    assert!(s.deliver(b, &[&third]).await);
    assert_eq!(marks(s, chat, b).await.delivered_up_to, Seq::new(3));
    assert!(s.deliver(b, &[&ninth]).await);
    let given = marks(s, chat, b).await;
    assert!(given.delivered_up_to <= Seq::new(5), "two of others are still to come, but the mark is {given:?}");
    assert!(s.deliver(b, &[&sixth]).await);
    assert_eq!(marks(s, chat, b).await.delivered_up_to, Seq::new(6));
    assert!(s.deliver(b, &[&seventh]).await);
    let given = marks(s, chat, b).await;
    assert_eq!((given.delivered_up_to, given.delivered_beyond), (Seq::new(9), vec![]));
    assert!(!s.read(b, &s.send(chat, b, "own, last").await).await || marks(s, chat, b).await.read_up_to == Seq::new(10));
}

/// Case.
pub async fn times_are_those_of_the_first_receipt(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send_many(chat, a, 4).await;
    let start = s.now();
    let at = |seconds| start.after(Duration::from_secs(seconds));
    s.deliver(b, &[&sent[1]]).await;
    s.env.advance(Duration::from_secs(1));
    s.deliver(b, &[&sent[0], &sent[1], &sent[2]]).await;
    s.env.advance(Duration::from_secs(1));
    s.read(b, &sent[1]).await;
    s.env.advance(Duration::from_secs(1));
    s.read(b, &sent[3]).await;
    for (place, delivered, read) in [(1, 1, 2), (2, 0, 2), (3, 1, 3), (4, 3, 3)] {
        let times = s.receipts.times(chat, Seq::new(place)).await.expect("times are read");
        let [times] = times.as_slice() else { panic!("expected the times of one user, got {times:?}") };
        assert_eq!((times.user_id, times.delivered_at, times.read_at), (b, Some(at(delivered)), Some(at(read))), "place {place}");
    }
    let own = s.send(chat, b, "own").await;
    s.read(b, &s.send(chat, a, "after it").await).await;
    assert!(s.receipts.times(chat, own.seq).await.expect("read").is_empty(), "nobody gives receipts for their own");
    let unseen = s.send(chat, a, "unseen").await;
    assert!(s.receipts.times(chat, unseen.seq).await.expect("read").is_empty());
    assert!(s.receipts.times(s.id(), Seq::new(1)).await.expect("read").is_empty());
}

/// Case.
pub async fn an_unannounced_read_leaves_no_event_for_senders(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send_many(chat, a, 3).await;
    s.deliver(b, &[&sent[0]]).await;
    s.outbox.drain().await;
    let mut receipt = s.receipt(chat, b, Receipted::ReadUpTo(sent[2].located()));
    receipt.announce = false;
    assert!(s.give(receipt).await);
    let told = announced(s).await;
    let read: Vec<_> = told.iter().filter(|status| status.status == Status::Read).collect();
    assert_eq!(read.len(), 1, "the reader's own devices are told");
    assert_eq!((read[0].sender_ids.as_slice(), read[0].user_id), ([].as_slice(), b));
    // That they arrived is no secret, and was not known of the last two.
    let arrived: Vec<_> = told.iter().filter(|status| status.status == Status::Delivered).collect();
    assert_eq!(arrived.len(), 1);
    assert_eq!((arrived[0].from_seq, arrived[0].seq, arrived[0].sender_ids.as_slice()), (Some(Seq::new(2)), Seq::new(3), [a].as_slice()));
    assert_eq!(told.len(), 2);
    assert_eq!(states(s, b, &sent).await, [Status::Read; 3]);
}

/// Case.
pub async fn a_receipt_leaves_one_event_naming_the_senders(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send_many(chat, a, 4).await;
    s.outbox.drain().await;
    let (event_id, origin) = (s.id(), Some(s.id()));
    let mut receipt = s.receipt(chat, b, Receipted::Delivered(vec![sent[0].located(), sent[2].located(), sent[3].located()]));
    receipt.origin = origin;
    assert!(s.receipts.give(receipt, event_id).await.expect("taken"));
    let events = s.outbox.drain().await;
    assert_eq!(events.len(), 2, "one for each run");
    assert_eq!(events[0].id, event_id);
    assert_ne!(events[1].id, event_id);
    let expected = [(None, &sent[0]), (Some(Seq::new(3)), &sent[3])];
    for (event, (from_seq, newest)) in events.iter().zip(expected) {
        let status = MessageStatus {
            chat_id: chat,
            message_id: newest.id,
            seq: newest.seq,
            from_seq,
            user_id: b,
            status: Status::Delivered,
            sender_ids: vec![a],
            origin,
        };
        assert_eq!((event.at, &event.fact), (s.now(), &Fact::MessageStatus(status)));
    }
    // A withheld message ends a run: its sender must not see it rise.
    let mut withheld = s.message(chat, a, text("withheld")).await;
    withheld.withheld_from = Some(b);
    s.append(withheld).await;
    let last = s.send(chat, a, "last").await;
    s.outbox.drain().await;
    assert!(s.read(b, &last).await);
    let runs: Vec<_> = announced(s).await.into_iter().map(|status| SeqRange { from: status.from_seq.unwrap_or(status.seq), to: status.seq }).collect();
    let run = |from, to| SeqRange { from: Seq::new(from), to: Seq::new(to) };
    assert_eq!(runs, [run(1, 4), run(6, 6)]);
    // However long the runs are: three withheld, five seen, own ones in between.
    for number in 0..30 {
        let sender = if number % 7 == 6 { b } else { a };
        let mut message = s.message(chat, sender, text(&format!("{number}"))).await;
        message.withheld_from = (sender == a && (10..13).contains(&number)).then_some(b);
        s.append(message).await;
    }
    let newest = s.send(chat, a, "newest").await;
    s.outbox.drain().await;
    assert!(s.read(b, &newest).await);
    let runs: Vec<_> = announced(s).await.into_iter().map(|status| SeqRange { from: status.from_seq.unwrap_or(status.seq), to: status.seq }).collect();
    assert_eq!(runs, [run(7, 16), run(21, 37)], "the own message beside the withheld ones belongs to neither run");
}

/// Case.
pub async fn concurrent_receipts_merge(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send_many(chat, a, 40).await;
    let (even, odd): (Vec<_>, Vec<_>) = sent.iter().partition(|message| message.seq.get() % 2 == 0);
    let deliveries = even.iter().chain(&odd).map(|message| s.deliver(b, std::slice::from_ref(message)));
    let (delivered, read) = tokio::join!(join_all(deliveries), join_all(sent[..20].iter().map(|message| s.read(b, message))));
    assert!(delivered.contains(&true) && read.contains(&true));
    let given = marks(s, chat, b).await;
    assert_eq!((given.delivered_up_to, given.read_up_to, given.delivered_beyond), (Seq::new(40), Seq::new(20), vec![]));
    for message in &sent {
        let times = s.receipts.times(chat, message.seq).await.expect("times are read");
        assert_eq!((times.len(), times[0].delivered_at.is_some(), times[0].read_at.is_some()), (1, true, message.seq <= Seq::new(20)));
    }
}

/// Case.
pub async fn however_much_is_read_at_once_all_of_it_is_read(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    // Own messages are in between, for longer than any part.
    let first = s.send_many(chat, a, 70).await;
    s.send_many(chat, b, 150).await;
    let last = s.send_many(chat, a, 90).await;
    s.outbox.drain().await;
    let (one, two) = tokio::join!(s.read(b, &last[89]), s.read(b, &last[79]));
    assert!(one || two);
    let given = marks(s, chat, b).await;
    assert_eq!((given.read_up_to, given.delivered_up_to, given.delivered_beyond), (Seq::new(310), Seq::new(310), vec![]));
    let events = s.outbox.drain().await;
    assert_eq!(events.iter().map(|event| event.id).collect::<BTreeSet<_>>().len(), events.len(), "each has an id of its own");
    let mut told = BTreeSet::new();
    for event in &events {
        let Fact::MessageStatus(status) = &event.fact else { continue };
        assert_eq!((status.status, status.sender_ids.as_slice()), (Status::Read, &[a][..]));
        told.extend(status.from_seq.unwrap_or(status.seq).get()..=status.seq.get());
    }
    assert!(first.iter().chain(&last).all(|message| told.contains(&message.seq.get())), "every sender is told of every message");
    assert!(!s.read(b, &last[89]).await);
}
