//! How many requests are worked on at once, in the manner of API Priority and Fairness: no user takes all seats, and whoever
//! finds none waits for a while before being told to come back later.
//!
//! Watches and other requests that last are not counted, nor are those of the components in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::{MASTERS, UserInfo};

/// Requests at once, as many as `kube-apiserver` takes by default (400 that read and 200 that write).
const SEATS: usize = 600;
/// Of those, one user's.
const OF_ONE_USER: usize = 300;
/// Requests of one user that may wait.
const WAITING: usize = 300;
/// A quarter of the time that a request has.
const PATIENCE: Duration = Duration::from_secs(15);

/// The seats of a server.
pub(crate) struct Inflight {
    seats: Arc<Semaphore>,
    users: Mutex<HashMap<String, Share>>,
}

/// The seats of a user who has requests.
struct Share {
    seats: Arc<Semaphore>,
    /// Running or waiting.
    requests: usize,
}

/// A seat; dropping it gives it back.
pub(crate) struct Seat<'a> {
    inflight: &'a Inflight,
    user: String,
    permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        drop(self.permits.take());
        let mut users = self.inflight.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = users.get_mut(&self.user) {
            share.requests -= 1;
            if share.requests == 0 {
                users.remove(&self.user);
            }
        }
    }
}

impl Default for Inflight {
    fn default() -> Self {
        Self {
            seats: Arc::new(Semaphore::new(SEATS)),
            users: Mutex::default(),
        }
    }
}

impl Inflight {
    /// Takes a seat, or none if too many others of this user wait for one already. Cluster administrators may wait in any
    /// number: they are who has to mend what goes wrong.
    pub(crate) async fn enter(&self, user: &UserInfo) -> Option<Seat<'_>> {
        let master = user.in_group(MASTERS);
        let (mut seat, own) = {
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            let share = users.entry(user.name.clone()).or_insert_with(|| Share {
                seats: Arc::new(Semaphore::new(OF_ONE_USER)),
                requests: 0,
            });
            if share.requests >= OF_ONE_USER + WAITING && !master {
                return None;
            }
            share.requests += 1;
            let seat = Seat {
                inflight: self,
                user: user.name.clone(),
                permits: None,
            };
            (seat, share.seats.clone())
        };
        let permits = async {
            Some((
                own.acquire_owned().await.ok()?,
                self.seats.clone().acquire_owned().await.ok()?,
            ))
        };
        // Most find a seat at once, and need no timer.
        seat.permits = match master {
            true => permits.await,
            false => tokio::time::timeout(PATIENCE, permits).await.ok().flatten(),
        };
        seat.permits.is_some().then_some(seat)
    }

    /// Requests running or waiting.
    #[cfg(test)]
    fn requests(&self) -> usize {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.values().map(|share| share.requests).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test(start_paused = true)]
    async fn one_user_cannot_keep_others_from_their_seats() {
        let inflight = Inflight::default();
        let (greedy, other) = (
            UserInfo::authenticated("greedy", &[""; 0]),
            UserInfo::authenticated("other", &[""; 0]),
        );
        let mut seats = Vec::new();
        for _ in 0..OF_ONE_USER {
            seats.push(inflight.enter(&greedy).await.expect("a free seat"));
        }
        let mut waiting: Vec<_> = (0..WAITING).map(|_| Box::pin(inflight.enter(&greedy))).collect();
        for waiting in &mut waiting {
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        assert!(inflight.enter(&greedy).await.is_none(), "too many wait already");
        assert!(inflight.enter(&other).await.is_some());
        seats.pop();
        let mut waiting = waiting.into_iter();
        assert!(
            waiting.next().expect("some wait").await.is_some(),
            "the first of them is next"
        );
        drop(seats);
        drop(waiting);
        assert_eq!(inflight.requests(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let inflight = Inflight::default();
        let user = UserInfo::authenticated("greedy", &[""; 0]);
        let mut seats = Vec::new();
        for _ in 0..OF_ONE_USER {
            seats.push(inflight.enter(&user).await);
        }
        assert!(inflight.enter(&user).await.is_none());
        drop(seats);
        assert_eq!(inflight.requests(), 0);
    }
}
