//! Keeps the order of sends: of one sender into one chat, whichever was begun first reaches the store first, though each
//! may have something to look up before. They do not wait for each other's commit, only for each other's look-ups.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::id::{ChatId, UserId};

type Line = (UserId, ChatId);

/// Who waits for their turn, by sender and chat. It holds no more than the sends in hand.
#[derive(Debug, Default)]
pub(super) struct Order {
    lines: Mutex<HashMap<Line, Vec<Waiting>>>,
}

/// A send that has not reached the store yet.
#[derive(Debug)]
struct Waiting {
    number: u64,
    waker: Option<Waker>,
}

/// A place in the line of a sender and chat, left when dropped.
#[derive(Debug)]
pub(super) struct InLine {
    order: Arc<Order>,
    line: Line,
    number: u64,
}

impl Order {
    fn lines(&self) -> MutexGuard<'_, HashMap<Line, Vec<Waiting>>> {
        // Nothing in here panics half-way.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the last place.
    pub(super) fn join(self: &Arc<Self>, sender: UserId, chat: ChatId) -> InLine {
        let line = (sender, chat);
        let mut lines = self.lines();
        let waiting = lines.entry(line).or_default();
        let number = waiting.last().map_or(0, |last| last.number + 1);
        waiting.push(Waiting { number, waker: None });
        InLine { order: Arc::clone(self), line, number }
    }
}

impl InLine {
    /// Begins the work when everybody before has begun theirs or has given up, and lets the next begin while it goes on.
    pub(super) async fn begin<T>(self, work: impl Future<Output = T>) -> T {
        poll_fn(|cx| {
            let mut lines = self.order.lines();
            let Some(waiting) = lines.get_mut(&self.line) else { return Poll::Ready(()) };
            if waiting.first().is_none_or(|first| first.number == self.number) {
                return Poll::Ready(());
            }
            if let Some(own) = waiting.iter_mut().find(|waiting| waiting.number == self.number) {
                own.waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
        let (mut work, mut place) = (pin!(work), Some(self));
        poll_fn(|cx| {
            let result = work.as_mut().poll(cx);
            // It has begun: the next may.
            place.take();
            result
        })
        .await
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        let next = {
            let mut lines = self.order.lines();
            let Some(waiting) = lines.get_mut(&self.line) else { return };
            waiting.retain(|waiting| waiting.number != self.number);
            if waiting.is_empty() {
                lines.remove(&self.line);
                return;
            }
            waiting.first_mut().and_then(|first| first.waker.take())
        };
        // Outside the lock: a waker is foreign code.
        if let Some(next) = next {
            next.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::pin::Pin;
    use std::task::Context;
    use uuid::Uuid;

    fn join(order: &Arc<Order>, chat: u128) -> InLine {
        order.join(UserId::from_uuid(Uuid::from_u128(1)), ChatId::from_uuid(Uuid::from_u128(chat)))
    }

    /// What a send does: looks something up for some polls, then begins its work, which takes one more poll.
    fn send(order: &Arc<Order>, chat: u128, lookups: usize, name: usize, begun: &Arc<Mutex<Vec<usize>>>) -> Pin<Box<dyn Future<Output = ()>>> {
        let (place, begun) = (join(order, chat), Arc::clone(begun));
        Box::pin(async move {
            pause(lookups).await;
            place
                .begin(async move {
                    begun.lock().expect("not poisoned").push(name);
                    pause(1).await;
                })
                .await;
        })
    }

    async fn pause(polls: usize) {
        let mut left = polls;
        poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    #[test]
    fn work_begins_in_the_order_of_joining_but_does_not_wait_for_work_to_end() {
        let (order, begun) = (Arc::new(Order::default()), Arc::default());
        let mut slow = send(&order, 1, 3, 0, &begun);
        let mut fast = send(&order, 1, 0, 1, &begun);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(fast.as_mut().poll(&mut cx).is_pending());
        for _ in 0..4 {
            assert!(slow.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(*begun.lock().expect("not poisoned"), [0]);
        assert!(fast.as_mut().poll(&mut cx).is_pending(), "it works");
        assert_eq!(*begun.lock().expect("not poisoned"), [0, 1]);
    }

    #[test]
    fn who_gives_up_holds_nobody_up() {
        let (order, begun) = (Arc::new(Order::default()), Arc::default());
        let given_up = send(&order, 1, 3, 0, &begun);
        let mut next = send(&order, 1, 0, 1, &begun);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(next.as_mut().poll(&mut cx).is_pending());
        drop(given_up);
        assert!(next.as_mut().poll(&mut cx).is_pending());
        assert_eq!(*begun.lock().expect("not poisoned"), [1]);
    }

    proptest! {
        #[test]
        fn every_line_keeps_its_order_and_ends_empty(sends in prop::collection::vec((0..3u128, 0..6usize, prop::bool::weighted(0.2)), 0..20), polls in prop::collection::vec(0..20usize, 0..60)) {
            let order = Arc::new(Order::default());
            let begun: Arc<Mutex<Vec<usize>>> = Arc::default();
            let mut futures: Vec<_> = sends.iter().enumerate().map(|(name, (chat, lookups, _))| Some(send(&order, *chat, *lookups, name, &begun))).collect();
            let mut cx = Context::from_waker(Waker::noop());
            let drive = |slot: &mut Option<Pin<Box<dyn Future<Output = ()>>>>, cx: &mut Context<'_>| {
                if slot.as_mut().is_some_and(|send| send.as_mut().poll(cx).is_ready()) {
                    *slot = None;
                }
            };
            for index in polls {
                if let Some(slot) = futures.get_mut(index) {
                    drive(slot, &mut cx);
                }
            }
            for (slot, (_, _, gives_up)) in futures.iter_mut().zip(&sends) {
                if *gives_up {
                    *slot = None;
                }
            }
            for _ in 0..sends.len() * 10 {
                futures.iter_mut().for_each(|slot| drive(slot, &mut cx));
            }
            prop_assert!(futures.iter().all(Option::is_none), "everybody comes to their turn");
            prop_assert!(order.lines().is_empty());
            for chat in 0..3 {
                let of_chat: Vec<_> = begun.lock().expect("not poisoned").iter().copied().filter(|name| sends[*name].0 == chat).collect();
                prop_assert!(of_chat.is_sorted(), "{:?}", of_chat);
            }
        }
    }
}
