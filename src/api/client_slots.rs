//! The slots of clients: how many may be connected, and which has to give way.
//!
//! A client waits until it has sent a request that may be answered; then it is served. Waiting costs nothing, so those who only wait
//! must never keep out those who are served: beyond a limit, the client that has waited longest is disconnected.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// How many clients may be connected.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotLimits {
    /// Clients that wait, in all and of one origin.
    pub(super) waiting: usize,
    pub(super) waiting_per_origin: usize,
    /// Clients that are served.
    pub(super) served: usize,
}

/// All clients, those that have waited longest first. `O` is where they come from.
#[derive(Debug)]
pub(super) struct ClientSlots<O> {
    limits: SlotLimits,
    list: Mutex<SlotList<O>>,
}

#[derive(Debug)]
struct SlotList<O> {
    slots: Vec<SlotEntry<O>>,
    next_id: u64,
}

#[derive(Debug)]
struct SlotEntry<O> {
    id: u64,
    origin: O,
    served: bool,
    expelled: CancellationToken,
}

/// The slot of one client, until it is dropped.
#[derive(Debug)]
pub(super) struct ClientSlot<O: Copy + Eq> {
    slots: Arc<ClientSlots<O>>,
    id: u64,
    expelled: CancellationToken,
}

impl<O: Copy + Eq> ClientSlots<O> {
    pub(super) fn new(limits: SlotLimits) -> Arc<Self> {
        Arc::new(Self { limits, list: Mutex::new(SlotList { slots: Vec::new(), next_id: 0 }) })
    }

    /// The slot of a new client, which waits. Another one that waits may have to give way.
    pub(super) fn enter(self: &Arc<Self>, origin: O) -> ClientSlot<O> {
        let mut list = self.list.lock();
        list.next_id += 1;
        let (id, expelled) = (list.next_id, CancellationToken::new());
        list.slots.push(SlotEntry { id, origin, served: false, expelled: expelled.clone() });
        list.shrink(self.limits);
        ClientSlot { slots: self.clone(), id, expelled }
    }
}

impl<O: Copy + Eq> SlotList<O> {
    /// Disconnects the client that has waited longest, of the origin that has too many or the most.
    fn shrink(&mut self, limits: SlotLimits) {
        let waiting: Vec<O> = self.slots.iter().filter(|slot| !slot.served).map(|slot| slot.origin).collect();
        let count = |origin: &O| waiting.iter().filter(|other| *other == origin).count();
        // Of several with as many, the one that has waited longest.
        let Some(most) = waiting.iter().rev().max_by_key(|origin| count(origin)) else { return };
        if waiting.len() > limits.waiting || count(most) > limits.waiting_per_origin {
            let oldest = self.slots.iter().position(|slot| !slot.served && slot.origin == *most);
            let slot = self.slots.remove(oldest.expect("one of this origin waits"));
            slot.expelled.cancel();
        }
    }
}

impl<O: Copy + Eq> ClientSlot<O> {
    /// The client is served from now on. False if too many are.
    pub(super) fn serve(&self) -> bool {
        let mut list = self.slots.list.lock();
        let served = list.slots.iter().filter(|slot| slot.served && slot.id != self.id).count();
        let free = served < self.slots.limits.served;
        if let Some(slot) = list.slots.iter_mut().find(|slot| slot.id == self.id) {
            slot.served = free;
        }
        free
    }

    /// The client waits again.
    pub(super) fn wait(&self) {
        let mut list = self.slots.list.lock();
        if let Some(at) = list.slots.iter().position(|slot| slot.id == self.id) {
            let mut slot = list.slots.remove(at);
            slot.served = false;
            list.slots.push(slot);
            list.shrink(self.slots.limits);
        }
    }

    /// Ends when the client has to give way.
    pub(super) fn expelled(&self) -> CancellationToken {
        self.expelled.clone()
    }
}

impl<O: Copy + Eq> Drop for ClientSlot<O> {
    fn drop(&mut self) {
        self.slots.list.lock().slots.retain(|slot| slot.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SlotLimits = SlotLimits { waiting: 4, waiting_per_origin: 3, served: 2 };

    /// Which of the clients had to give way.
    fn gone(clients: &[ClientSlot<u8>]) -> Vec<usize> {
        (0..clients.len()).filter(|n| clients[*n].expelled.is_cancelled()).collect()
    }

    #[test]
    fn the_one_that_has_waited_longest_of_the_origin_with_the_most_gives_way() {
        let slots = ClientSlots::new(LIMITS);
        let mut clients: Vec<_> = [1, 2, 2, 2].map(|origin| slots.enter(origin)).into();
        assert_eq!(gone(&clients), [] as [usize; 0]);
        clients.push(slots.enter(2));
        assert_eq!(gone(&clients), [1], "a fourth of origin 2");
        clients.push(slots.enter(3));
        assert_eq!(gone(&clients), [1, 2], "a fifth in all, and origin 2 has the most");
    }

    #[test]
    fn who_is_served_stays() {
        let slots = ClientSlots::new(LIMITS);
        let first = slots.enter(1);
        let second = slots.enter(1);
        assert!(first.serve() && second.serve() && second.serve());
        let third = slots.enter(1);
        assert!(!third.serve(), "two are served");
        let crowd: Vec<_> = (0..50).map(|_| slots.enter(1)).collect();
        assert!(third.expelled.is_cancelled() && !first.expelled.is_cancelled() && !second.expelled.is_cancelled());
        first.wait();
        assert!(!first.expelled.is_cancelled(), "it waits since now");
        assert!(crowd[46].expelled.is_cancelled() && !crowd[49].expelled.is_cancelled() && crowd[49].serve());
        drop((first, second, third, crowd));
        assert!(slots.list.lock().slots.is_empty());
    }
}
