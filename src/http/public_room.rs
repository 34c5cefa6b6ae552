//! Room for downloads of what anybody may see: so many at once, and a share of them for each
//! address, so that one client cannot keep the others waiting.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::network;
use super::problem::Problem;

/// The downloads that run.
pub(super) struct PublicRoom {
    all: Arc<Semaphore>,
    all_max: usize,
    share: usize,
    running: Mutex<HashMap<IpAddr, usize>>,
}

/// The slot of a download, until this is dropped.
pub(super) struct DownloadSlot {
    room: Arc<PublicRoom>,
    address: Option<IpAddr>,
    _permit: OwnedSemaphorePermit,
}

impl PublicRoom {
    /// Room for `all_max` downloads, of which an address has `share` at most.
    pub fn new(all_max: usize, share: usize) -> Arc<PublicRoom> {
        Arc::new(PublicRoom {
            all: Arc::new(Semaphore::new(all_max)),
            all_max,
            share,
            running: Mutex::default(),
        })
    }

    /// Takes a slot. `None` as address: it is not known whose it is, so that only the bound of all
    /// counts.
    pub fn enter(self: &Arc<PublicRoom>, address: Option<IpAddr>) -> Result<DownloadSlot, Problem> {
        let address = address.map(network);
        let mut running = self.lock();
        let of_address = address.and_then(|address| running.get(&address).copied());
        let of_address = of_address.unwrap_or_default();
        if of_address >= self.share {
            return Err(self.share_is_taken());
        }
        let permit = self.all.clone().try_acquire_owned();
        let permit = permit.map_err(|_| busy(self.all_max))?;
        if let Some(address) = address {
            running.insert(address, of_address + 1);
        }
        drop(running);
        Ok(DownloadSlot {
            room: self.clone(),
            address,
            _permit: permit,
        })
    }

    fn share_is_taken(&self) -> Problem {
        let share = self.share;
        Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_downloads",
            format!(
                "{share} downloads of this address are running; retry when one of them has ended"
            ),
        )
        .retry_after(10)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // A panic elsewhere leaves the map whole: each change of it is one statement.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DownloadSlot {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut running = self.room.lock();
        match running.get_mut(&address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                running.remove(&address);
            }
        }
    }
}

/// All slots are taken.
pub(super) fn busy(max: usize) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "downloads_busy",
        format!("{max} other downloads are running; retry in a minute"),
    )
    .retry_after(60)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::PublicRoom;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_address_has_a_share_and_all_have_a_bound() {
        let room = PublicRoom::new(3, 2);
        let greedy = [(); 2].map(|()| room.enter(address("10.0.0.1")).ok().unwrap());
        let refused = room.enter(address("10.0.0.1")).err().unwrap();
        assert!(refused.is("too_many_downloads"));
        let other = room.enter(address("10.0.0.2")).ok().unwrap();
        for late in [address("10.0.0.3"), None] {
            assert!(room.enter(late).err().unwrap().is("downloads_busy"));
        }
        drop(greedy);
        let unknown = [(); 2].map(|()| room.enter(None).ok().unwrap());
        assert!(room.enter(None).is_err());
        drop((other, unknown));
        assert!(room.lock().is_empty(), "nobody is remembered for nothing");
        assert_eq!(room.all.available_permits(), 3);
    }

    #[test]
    fn a_household_of_ipv6_is_one_client() {
        let room = PublicRoom::new(8, 1);
        let _one = room.enter(address("2001:db8:1:2::1")).ok().unwrap();
        assert!(room.enter(address("2001:db8:1:2::ffff")).is_err());
        assert!(room.enter(address("2001:db8:1:3::1")).is_ok());
    }
}
