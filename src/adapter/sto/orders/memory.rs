//! Orders that hooks have told this node of, until the day is over.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Order;
use crate::adapter::sto::moment::Moment;

/// Orders that are kept; of more, others are forgotten first.
const CAPACITY: usize = 10_000;

/// The orders of this node alone: for tests, and for one node without a database.
#[derive(Debug)]
pub(in crate::adapter::sto) struct Memory {
    orders: Mutex<HashMap<String, Order>>,
    offset_minutes: i16,
}

impl Memory {
    /// With none. Days begin `offset_minutes` before UTC's.
    pub(in crate::adapter::sto) fn new(offset_minutes: i16) -> Self {
        Self {
            orders: Mutex::default(),
            offset_minutes,
        }
    }

    pub(super) fn note(&self, order: &Order) {
        let mut orders = self.orders();
        if orders.len() >= CAPACITY && !orders.contains_key(order.id()) {
            let now = Moment::now();
            orders
                .retain(|_, known| known.is_of_today(now, self.offset_minutes) && !is_over(known));
            if orders.len() >= CAPACITY {
                // Still all of today: the one that displays would show last.
                let last = orders.values().max_by(|a, b| a.rank(b));
                let last = last.map(|order| order.id().to_owned());
                last.and_then(|id| orders.remove(&id));
            }
        }
        orders.insert(order.id().to_owned(), order.clone());
    }

    pub(super) fn today(&self) -> Vec<Order> {
        let now = Moment::now();
        let mut orders = self.orders();
        orders.retain(|_, order| order.is_of_today(now, self.offset_minutes));
        let open = orders.values().filter(|order| !is_over(order));
        open.cloned().collect()
    }

    pub(super) fn find(&self, id: &str) -> Option<Order> {
        self.orders().get(id).cloned()
    }

    fn orders(&self) -> MutexGuard<'_, HashMap<String, Order>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_over(order: &Order) -> bool {
    order.has_status("completed") || order.has_status("cancelled")
}
