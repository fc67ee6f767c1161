//! `publish.rs` as it stands, in every interleaving of the writer, a batch, and
//! somebody who waits for a revision (I4, A2).
//!
//! loom chooses what runs at each step of a primitive, so the primitives are its
//! own here. They are plainer than the real ones, a lock each: that a swap of
//! pointers and a watch channel are right inside is shown by their own projects.
//! What is shown here is the order in which they are used.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by failing")]

#[allow(clippy::duplicate_mod, reason = "the same code on other primitives is the point")]
#[allow(dead_code, reason = "damage and restored stores are not part of the model")]
#[path = "publish.rs"]
mod modelled;

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use loom::{
    model::Builder,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use self::modelled::Published;
use super::{books, doubt};
use crate::engine::{filter_tests::view, view::View};

mod sync {
    //! The names of `super::sync` on loom's locks.

    use std::sync::Arc;

    use loom::sync::Mutex;

    pub struct ArcSwap<T>(Mutex<Arc<T>>);

    impl<T> ArcSwap<T> {
        pub fn from_pointee(value: T) -> Self {
            Self(Mutex::new(Arc::new(value)))
        }

        pub fn load_full(&self) -> Arc<T> {
            Arc::clone(&self.0.lock().unwrap())
        }

        pub fn store(&self, value: Arc<T>) {
            *self.0.lock().unwrap() = value;
        }
    }

    pub mod watch {
        use loom::sync::{Arc, Condvar, Mutex};

        pub struct Sender<T>(Arc<(Mutex<T>, Condvar)>);

        pub struct Receiver<T>(Arc<(Mutex<T>, Condvar)>);

        impl<T> Sender<T> {
            pub fn new(value: T) -> Self {
                Self(Arc::new((Mutex::new(value), Condvar::new())))
            }

            pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) {
                let (value, changed) = &*self.0;
                if modify(&mut value.lock().unwrap()) {
                    changed.notify_all();
                }
            }

            pub fn subscribe(&self) -> Receiver<T> {
                Receiver(Arc::clone(&self.0))
            }
        }

        impl<T> Receiver<T> {
            /// Blocks the thread where the real one would suspend the task.
            pub async fn wait_for(
                &mut self,
                mut is_due: impl FnMut(&T) -> bool,
            ) -> Result<(), String> {
                let (value, changed) = &*self.0;
                let mut value = value.lock().unwrap();
                while !is_due(&value) {
                    value = changed.wait(value).unwrap();
                }
                Ok(())
            }
        }
    }
}

/// Waits as a handler does.
fn wait(published: &Published, revision: u64) {
    let reached = pin!(published.reached(revision));
    assert_eq!(reached.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()));
}

#[test]
fn what_was_acknowledged_or_waited_for_is_loaded_and_no_load_goes_back() {
    let first = view();
    let mut model = Builder::new();
    model.preemption_bound = Some(4);
    model.check(move || {
        let published = Arc::new(Published::new(first.clone(), None, Arc::default()));
        // The latest revision that a caller was answered.
        let acknowledged = Arc::new(AtomicU64::new(1));
        let writer = {
            let (published, acknowledged) = (Arc::clone(&published), Arc::clone(&acknowledged));
            let first = first.clone();
            thread::spawn(move || {
                for revision in [2, 3] {
                    published.publish(View { revision, ..first.clone() });
                    acknowledged.store(revision, Ordering::Release);
                }
            })
        };
        let waiter = {
            let published = Arc::clone(&published);
            thread::spawn(move || {
                wait(&published, 2);
                assert!(published.load().revision >= 2, "a batch that waited sees what it asked");
                wait(&published, 3);
                assert_eq!(published.load().revision, 3);
            })
        };
        let known = acknowledged.load(Ordering::Acquire);
        let seen = published.load().revision;
        assert!(seen >= known, "revision {known} was acknowledged, and {seen} is shown");
        assert!(published.load().revision >= seen, "a stream goes back");
        writer.join().unwrap();
        waiter.join().unwrap();
    });
}
