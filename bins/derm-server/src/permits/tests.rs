//! Permits: who is admitted, and what is set aside.

use super::*;
use futures_util::FutureExt;

const MIB: usize = 1 << 20;
const CONNECTIONS: usize = 256;

fn address(low: u8) -> ClientAddress {
    std::net::IpAddr::from([10, 0, 0, low]).into()
}

fn client(permits: &Permits) -> Arc<Client> {
    permits.client(address(0))
}

fn soon() -> Instant {
    deadline(Duration::from_millis(20))
}

fn small() -> Demand {
    Demand::Bytes(1)
}

#[actix_web::test]
async fn one_runs_the_next_is_ready_and_another_waits_in_vain() {
    let permits = Permits::new(1, 2048, CONNECTIONS, 100 * MIB, 10 * MIB);
    let mut held = Vec::new();
    for _ in 0..GRANTED {
        held.push(permits.inference(&client(&permits), small, soon()).await.unwrap());
    }
    let late = permits.inference(&client(&permits), small, soon()).await;
    assert!(matches!(late, Err(ApiError::Busy(_))));
    held.pop();
    assert!(permits.inference(&client(&permits), small, soon()).await.is_ok());
    assert_eq!(permits.waiting(), 0);
}

#[actix_web::test]
async fn uploads_are_bounded_in_bytes() {
    let permits = Permits::new(1, MIB, CONNECTIONS, 100 * MIB, 10 * MIB);
    let mut held = Vec::new();
    for low in 0..LARGEST_UPLOADS {
        let mut upload = UploadPermit::new(permits.client(address(low as u8)));
        permits.grow(&mut upload, MIB, soon()).await.unwrap();
        held.push(upload);
    }
    let mut late = UploadPermit::new(permits.client(address(100)));
    assert!(matches!(permits.grow(&mut late, 1, soon()).await, Err(ApiError::Busy(_))));
    held.pop();
    assert!(permits.grow(&mut late, MIB, soon()).await.is_ok());
}

#[actix_web::test]
async fn what_can_never_fit_is_refused_and_what_does_not_fit_now_waits() {
    let permits = Permits::new(8, MIB, CONNECTIONS, 40 * MIB, 10 * MIB);
    let all = permits.reserved().available;
    assert!(all < 26 * MIB && all > 15 * MIB, "{all}");
    let never = permits.inference(&client(&permits), || Demand::Bytes(all + BLOCK), soon()).await;
    assert!(matches!(never, Err(ApiError::OverBudget { .. })));
    let most =
        permits.inference(&client(&permits), || Demand::Bytes(all - MIB), soon()).await.unwrap();
    let later = permits.inference(&client(&permits), || Demand::Bytes(2 * MIB), soon()).await;
    assert!(matches!(later, Err(ApiError::Busy(_))));
    drop(most);
    assert!(permits.inference(&client(&permits), || Demand::Bytes(2 * MIB), soon()).await.is_ok());
    assert_eq!(permits.reserved().inferences, 0);
    assert_eq!(permits.reserved().high_water, (all - MIB).next_multiple_of(BLOCK));
}

#[actix_web::test]
async fn the_first_inference_runs_alone_and_leaves_the_weights_set_aside() {
    let weights = WeightsMemory::default();
    let permits = Permits::new(2, MIB, CONNECTIONS, 40 * MIB, 10 * MIB);
    let all = permits.reserved().available;
    let mut first = permits.inference(&client(&permits), || Demand::Unknown, soon()).await.unwrap();
    assert!(permits.inference(&client(&permits), small, soon()).await.is_err());
    permits.keep_for_weights(&weights, &mut first, 5 * MIB);
    drop(first);
    assert_eq!(permits.reserved().available, all - 5 * MIB);
    assert!(
        permits.inference(&client(&permits), || Demand::Bytes(all - 5 * MIB), soon()).await.is_ok()
    );
}

#[actix_web::test]
async fn the_weights_are_set_aside_once() {
    let weights = WeightsMemory::default();
    let permits = Permits::new(2, MIB, CONNECTIONS, 40 * MIB, 10 * MIB);
    let all = permits.reserved().available;
    assert!(!weights.is_kept());
    for _ in 0..3 {
        let mut unknown =
            permits.inference(&client(&permits), || Demand::Unknown, soon()).await.unwrap();
        permits.keep_for_weights(&weights, &mut unknown, 5 * MIB);
        assert!(weights.is_kept());
        assert_eq!(permits.reserved().available, all - 5 * MIB);
    }
    assert!(
        permits.inference(&client(&permits), || Demand::Bytes(all - 5 * MIB), soon()).await.is_ok()
    );
}

/// An inference whose demand has no room until another model's weights are gone.
struct Crowded<'a> {
    permits: &'a Permits,
    other: &'a WeightsMemory,
    bytes: usize,
}

impl Needs for Crowded<'_> {
    async fn reside(&self) -> Option<Residence> {
        None
    }

    fn demand(&self) -> Demand {
        Demand::Bytes(self.bytes)
    }

    fn obtainable(&self) -> usize {
        self.other.bytes()
    }

    async fn make_room(&self) -> Result<(), ApiError> {
        self.permits.release_weights(self.other);
        Ok(())
    }
}

#[actix_web::test]
async fn what_fits_without_the_weights_of_another_model_is_no_more_than_the_budget() {
    let other = WeightsMemory::default();
    let permits = Permits::new(2, MIB, CONNECTIONS, 40 * MIB, 10 * MIB);
    let all = permits.reserved().available;
    let mut first = permits.inference(&client(&permits), || Demand::Unknown, soon()).await.unwrap();
    permits.keep_for_weights(&other, &mut first, 5 * MIB);
    drop(first);
    let crowded = |bytes| Crowded { permits: &permits, other: &other, bytes };
    let small = permits.inference(&client(&permits), crowded(all - 5 * MIB), soon()).await;
    assert!(small.is_ok() && other.is_kept(), "there is room for it beside the other model");
    drop(small);
    let never = permits.inference(&client(&permits), crowded(all + BLOCK), soon()).await;
    assert!(matches!(never, Err(ApiError::OverBudget { .. })));
    assert!(other.is_kept(), "it would not fit without the other model either");
    assert!(permits.inference(&client(&permits), crowded(all - MIB), soon()).await.is_ok());
    assert!(!other.is_kept());
    let never = permits.inference(&client(&permits), crowded(all + BLOCK), soon()).await;
    assert!(matches!(never, Err(ApiError::OverBudget { .. })));
}

#[actix_web::test]
async fn nobody_waits_for_memory_that_the_weights_have_taken_meanwhile() {
    let weights = WeightsMemory::default();
    let permits = Permits::new(2, MIB, CONNECTIONS, 40 * MIB, 10 * MIB);
    let all = permits.reserved().available;
    let first = permits.inference(&client(&permits), || Demand::Unknown, soon()).await.unwrap();
    let first = std::cell::RefCell::new(first);
    // The weights are set aside at the last moment before the demand is compared.
    let demand = || {
        permits.keep_for_weights(&weights, &mut first.borrow_mut(), 5 * MIB);
        Demand::Bytes(all)
    };
    let refused = permits.inference(&client(&permits), demand, soon()).await;
    assert!(matches!(refused, Err(ApiError::OverBudget { .. })), "{refused:?}");
}

#[actix_web::test]
async fn a_granted_inference_counts_as_busy_until_it_ends() {
    let permits = Permits::new(1, MIB, CONNECTIONS, 40 * MIB, 10 * MIB);
    assert!(!permits.is_busy());
    let permit = permits.inference(&client(&permits), small, soon()).await.unwrap();
    assert!(permits.is_busy());
    drop(permit);
    assert!(!permits.is_busy());
}

#[actix_web::test]
async fn one_client_may_not_take_all_places_to_wait() {
    let permits = Permits::new(1, MIB, 8, 40 * MIB, 10 * MIB);
    let (one, other) = (client(&permits), permits.client(address(1)));
    let held = [(); GRANTED].map(|()| permits.inference(&one, small, soon()));
    let held = futures_util::future::join_all(held).await;
    // Six places, of which one client may take three.
    let waiting = (0..4).map(|_| permits.inference(&one, small, soon()));
    let ended = futures_util::future::join_all(waiting).await;
    let told = |text: &str| {
        let refused = |permit: &Result<InferencePermit, ApiError>| {
            permit.as_ref().is_err_and(|error| error.to_string().contains(text))
        };
        ended.iter().filter(|permit| refused(permit)).count()
    };
    assert_eq!((told("of this client"), told(LATE)), (1, 3));
    drop(held);
    assert!(permits.inference(&other, small, soon()).await.is_ok());
    assert_eq!((permits.waiting(), permits.memory_is_short()), (0, false));
}

#[actix_web::test]
async fn an_answer_keeps_its_memory_until_it_is_taken() {
    let permits = Permits::new(1, MIB, CONNECTIONS, 40 * MIB, 10 * MIB);
    let one = client(&permits);
    let permit = permits.inference(&one, || Demand::Bytes(5 * MIB), soon()).await.unwrap();
    let answer = permit.into_answer(MIB);
    assert_eq!(permits.reserved().inferences, MIB);
    assert!(!permits.is_busy(), "the inference is over");
    let little = permits.inference(&one, small, soon()).await.unwrap();
    let whole = little.into_answer(MIB);
    assert_eq!(permits.reserved().inferences, MIB + BLOCK);
    drop((answer, whole));
    assert_eq!(permits.reserved().inferences, 0);
}

#[actix_web::test]
async fn the_weights_of_another_model_take_the_place_of_the_last() {
    let memory = WeightsMemory::default();
    let permits = Permits::new(2, MIB, CONNECTIONS, 40 * MIB, 10 * MIB);
    let all = permits.reserved().available;
    for weights in [5 * MIB, 8 * MIB, 2 * MIB] {
        let one = client(&permits);
        let mut permit = permits.inference(&one, || Demand::All, soon()).await.unwrap();
        permits.set_weights(&memory, &mut permit, weights);
        drop(permit);
        let left = Reserved { high_water: 0, ..permits.reserved() };
        let (available, inferences) = (all - weights, 0);
        assert_eq!(left, Reserved { available, inferences, high_water: 0, uploads: 0 });
    }
    let other = client(&permits);
    let again = permits.inference(&other, || Demand::Bytes(all - 2 * MIB), soon());
    assert!(again.await.is_ok());
}

#[actix_web::test]
async fn a_request_that_would_be_late_is_refused_at_once_and_the_servers_own_work_is_not() {
    let permits = Permits::new(1, 2048, CONNECTIONS, 100 * MIB, 10 * MIB);
    let client = client(&permits);
    let mut now = Instant::now();
    for number in 0..=40 {
        now += Duration::from_secs(100);
        permits.pace().granted(now, number < 40);
    }
    let long = deadline(Duration::from_secs(1000));
    let mut held = Vec::new();
    for _ in 0..GRANTED {
        held.push(permits.inference(&client, small, long).await.unwrap());
    }
    // At one in 100 s, the sixth would wait for 500 s.
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let mut next = Box::pin(permits.inference(&client, small, long));
        assert!((&mut next).now_or_never().is_none());
        waiting.push(next);
    }
    let late = permits.inference(&client, small, long);
    assert!(matches!(late.now_or_never(), Some(Err(ApiError::Busy(_)))));
    let mut own = Box::pin(permits.own_inference(small, long));
    assert!((&mut own).now_or_never().is_none());
    // Those that wait are granted what they wait for.
    held.clear();
    for next in waiting {
        drop(next.await.unwrap());
    }
    assert!(own.await.is_ok());
}

#[actix_web::test]
async fn the_weights_of_several_models_are_set_aside_beside_each_other_and_released() {
    let permits = Permits::new(2, MIB, CONNECTIONS, 40 * MIB, 10 * MIB);
    let all = permits.reserved().available;
    let models = [WeightsMemory::default(), WeightsMemory::default()];
    for (number, weights) in models.iter().enumerate() {
        let mut permit =
            permits.inference(&client(&permits), || Demand::Load(8 * MIB), soon()).await.unwrap();
        assert_eq!(permits.reserved().inferences, 8 * MIB);
        assert!(permits.keep_for_weights(weights, &mut permit, 5 * MIB));
        drop(permit);
        assert_eq!(permits.reserved().available, all - (number + 1) * 5 * MIB);
        assert_eq!(weights.bytes(), 5 * MIB);
    }
    permits.release_weights(&models[0]);
    assert!(!models[0].is_kept() && models[1].is_kept());
    assert_eq!(permits.reserved().available, all - 5 * MIB);
    let one = client(&permits);
    let load = permits.inference(&one, || Demand::Load(usize::MAX / 2), soon());
    let mut permit = load.await.unwrap();
    assert_eq!(permits.reserved().inferences, all - 5 * MIB, "all there is");
    assert!(!permits.keep_for_weights(&models[0], &mut permit, all), "it does not fit");
    permits.release_weights(&models[0]);
    drop(permit);
    assert_eq!(permits.reserved().available, all - 5 * MIB);
}
