use std::time::Duration;

use tidemark::ops::shutdown;

#[tokio::test]
async fn work_that_ends_in_time_is_waited_for_and_other_work_is_not() {
    let (trigger, shutdown) = shutdown::channel();
    let bound = Duration::from_millis(20);
    assert_eq!(shutdown.bounded(bound, async { 1 }).await, Some(1));
    trigger.shut_down();
    assert!(shutdown.is_requested());
    let late = async { tokio::time::sleep(Duration::from_secs(60)).await };
    assert_eq!(shutdown.bounded(bound, late).await, None);
    let soon = async { tokio::time::sleep(Duration::from_millis(1)).await };
    assert_eq!(
        shutdown.bounded(Duration::from_secs(60), soon).await,
        Some(())
    );
}

#[tokio::test]
async fn before_a_request_work_may_take_any_time() {
    let (trigger, shutdown) = shutdown::channel();
    let work = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        2
    };
    assert_eq!(
        shutdown.bounded(Duration::from_millis(1), work).await,
        Some(2)
    );
    drop(trigger);
    assert!(!shutdown.is_requested());
}
