//! What a server cannot do without: when one of its parts ends by itself, by a
//! panic too, the server must not go on as if all were well (A10).

use std::future::Future;

use tokio::sync::watch::Sender;

/// Turns a signal true when it is dropped, which a thread's or a task's end
/// does however it comes.
pub struct Ending(pub Sender<bool>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// Runs what is not to end before the server does; the signal tells if it did.
pub async fn vital<T>(ending: Sender<bool>, part: impl Future<Output = T>) -> T {
    let _ending = Ending(ending);
    part.await
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        pin::Pin,
    };

    use super::*;

    #[tokio::test]
    async fn an_end_is_told_of_however_it_comes() {
        type Part = Pin<Box<dyn Future<Output = ()> + Send>>;
        let parts: [Part; 2] = [Box::pin(async { panic!("in a part") }), Box::pin(ready(()))];
        for part in parts {
            let (ending, mut ended) = tokio::sync::watch::channel(false);
            let running = tokio::spawn(vital(ending, part));
            ended.wait_for(|ended| *ended).await.unwrap();
            drop(running.await);
        }
        let (ending, ended) = tokio::sync::watch::channel(false);
        let running = tokio::spawn(vital(ending, pending::<()>()));
        tokio::task::yield_now().await;
        assert!(!*ended.borrow(), "it goes on");
        running.abort();
    }
}
