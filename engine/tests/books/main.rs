//! Order books against a naive model, over random streams of valid and invalid messages.

mod agent;
mod messages;
mod model;

use messages::{Draft, LOCATES, References, draft, symbol};
use model::{Model, ModelStats};
use proptest::prelude::*;
use seqcast_engine::book::{
    Applied, Book, Books, BooksConfig, Effect, IMAGE_MESSAGE_BYTES, ImageEncoder, Side, Touched,
};
use seqcast_wire::itch::Message;
use seqcast_wire::{Price4, Timestamp};

const SIDES: [Side; 2] = [Side::Bid, Side::Ask];

fn books(expected_orders: u32, max_orders: u32) -> Books {
    Books::new(BooksConfig { expected_orders, max_orders, seed: 0 }).unwrap()
}

fn references() -> impl Strategy<Value = References> {
    prop::sample::select(References::ALL.as_slice())
}

fn stats_of(books: &Books) -> ModelStats {
    let stats = books.stats();
    ModelStats {
        malformed: stats.malformed,
        unknown_types: stats.unknown_types,
        unknown_references: stats.unknown_references,
        duplicate_references: stats.duplicate_references,
        over_executions: stats.over_executions,
        over_cancels: stats.over_cancels,
        wrong_locates: stats.wrong_locates,
        wrong_symbols: stats.wrong_symbols,
        over_limits: stats.over_limits,
        locked: stats.locked,
        crossed: stats.crossed,
    }
}

fn side_of(book: Book<'_>, side: Side) -> Vec<(u32, u64, Vec<u64>)> {
    book.levels(side)
        .map(|level| {
            let references: Vec<u64> = level.orders().map(|order| order.reference).collect();
            assert_eq!(level.order_count() as usize, references.len());
            assert_eq!(level.side(), side);
            (level.price().units(), level.shares(), references)
        })
        .collect()
}

fn assert_equal(books: &Books, model: &Model) {
    assert_eq!(books.live_orders() as usize, model.orders.len());
    assert_eq!(books.live_levels() as usize, model.levels.len());
    for locate in 0..u16::try_from(books.locates()).unwrap() {
        let book = books.book(locate);
        for side in SIDES {
            assert_eq!(side_of(book, side), model.side(locate, side));
        }
        assert_eq!(book.stock(), model.stock(locate));
        assert_eq!(book.directory().map(|m| m.stock), model.directory.get(&locate).copied());
    }
    for (&reference, expected) in &model.orders {
        let order = books.order(reference).unwrap();
        assert_eq!(
            (order.locate, order.side, order.price.units(), order.shares),
            (expected.locate, expected.side, expected.price, expected.shares)
        );
        assert_eq!(order.attribution.map_or([0; 4], |mpid| mpid.0), expected.attribution);
    }
}

/// Everything of the model that an image holds, besides the status messages.
type State = Vec<(u16, Side, u32, Vec<(u64, u32, [u8; 4])>)>;

fn state_of(model: &Model) -> State {
    let orders = |queue: &std::collections::VecDeque<u64>| {
        queue
            .iter()
            .map(|reference| {
                (*reference, model.orders[reference].shares, model.orders[reference].attribution)
            })
            .collect()
    };
    model.levels.iter().map(|(&(locate, side, price), queue)| (locate, side, price, orders(queue))).collect()
}

/// Applies to both and compares what is said to have changed with what did.
fn apply_both(books: &mut Books, model: &mut Model, message: &[u8]) -> Applied {
    let before = model.clone();
    let applied = books.apply(message);
    model.apply(message);
    let locate = applied.locate;
    let bbo = |model: &Model| SIDES.map(|side| model.best(locate, side));
    assert_eq!(applied.bbo_changed, bbo(&before) != bbo(model), "bbo of {applied:?}");
    let in_place =
        matches!(Message::parse(message), Ok(Message::OrderReplace(m)) if m.original == m.reference);
    let changed = state_of(&before) != state_of(model);
    assert!((applied.effect == Effect::Book) == changed || in_place, "effect of {applied:?}");
    let mut touched: Vec<Touched> = applied.touched.into_iter().flatten().collect();
    for key in before.levels.keys().chain(model.levels.keys()) {
        let &(_, side, price) = key;
        let now = Touched { side, price: Price4::new(price) };
        let changed = key.0 == locate && touched.contains(&now);
        let orders = |model: &Model| {
            let queue = model.levels.get(key)?;
            Some(
                queue
                    .iter()
                    .map(|reference| (*reference, model.orders[reference].shares))
                    .collect::<Vec<_>>(),
            )
        };
        assert!(changed || orders(&before) == orders(model), "{key:?} changed unsaid: {applied:?}");
    }
    touched.dedup();
    assert_eq!(touched.len(), applied.touched.into_iter().flatten().count(), "a level is named once");
    applied
}

fn image_of(books: &Books) -> Vec<Vec<u8>> {
    let mut encoder = ImageEncoder::new(Timestamp::from_ns(1));
    let mut out = [0; IMAGE_MESSAGE_BYTES];
    std::iter::from_fn(|| encoder.next(books, &mut out).map(|len| out[..len].to_vec())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_model(
        drafts in prop::collection::vec(draft(), 0..250),
        references in references(),
        max_orders in 1..40_u32,
    ) {
        let mut books = books(4, max_orders);
        let mut model = Model::new(max_orders as usize);
        for draft in &drafts {
            apply_both(&mut books, &mut model, &draft.to_bytes(references));
            prop_assert_eq!(stats_of(&books), model.stats);
        }
        assert_equal(&books, &model);
        prop_assert_eq!(books.stats().messages, drafts.len() as u64);
    }

    #[test]
    fn looking_ahead_changes_nothing(
        drafts in prop::collection::vec(draft(), 0..120),
        references in references(),
    ) {
        let messages: Vec<Vec<u8>> = drafts.iter().map(|draft| draft.to_bytes(references)).collect();
        let (mut one, mut all) = (books(4, 40), books(4, 40));
        let expected: Vec<Applied> = messages.iter().map(|message| one.apply(message)).collect();
        let mut found = Vec::new();
        all.apply_all(messages.iter().map(Vec::as_slice), |_, message, applied| {
            assert_eq!(message, messages[found.len()]);
            found.push(*applied);
        });
        prop_assert_eq!(found, expected);
        prop_assert_eq!(all.digest(), one.digest());
        prop_assert_eq!(all.stats(), one.stats());
    }

    #[test]
    fn digests_are_equal_exactly_when_states_are(
        left in prop::collection::vec(draft(), 0..12),
        right in prop::collection::vec(draft(), 0..12),
        common in prop::collection::vec(draft(), 0..60),
    ) {
        let only_orders = |drafts: &[Draft]| {
            drafts.iter().filter(|draft| !is_status(draft)).cloned().collect::<Vec<_>>()
        };
        let run = |drafts: &[Draft]| {
            let (mut books, mut model) = (books(4, 40), Model::new(40));
            for draft in common.iter().chain(drafts) {
                let message = draft.to_bytes(References::Sparse);
                books.apply(&message);
                model.apply(&message);
            }
            (books.digest(), state_of(&model), names_of(&model))
        };
        let (left_digest, left_state, left_names) = run(&only_orders(&left));
        let (right_digest, right_state, right_names) = run(&only_orders(&right));
        prop_assert_eq!(
            left_digest == right_digest,
            left_state == right_state && left_names == right_names
        );
    }

    #[test]
    fn an_image_rebuilds_equal_books(
        drafts in prop::collection::vec(draft(), 0..200),
        more in prop::collection::vec(draft(), 0..60),
        references in references(),
    ) {
        let mut original = books(4, 40);
        let mut model = Model::new(40);
        for draft in &drafts {
            original.apply(&draft.to_bytes(references));
            model.apply(&draft.to_bytes(references));
        }
        let image = image_of(&original);
        let mut rebuilt = books(16, 40);
        for message in &image {
            prop_assert!(Message::parse(message).is_ok());
            let applied = rebuilt.apply(message);
            prop_assert!(applied.effect != Effect::None && applied.anomaly.is_none(), "{:?}", applied);
        }
        prop_assert_eq!(rebuilt.digest(), original.digest());
        prop_assert_eq!(image_of(&rebuilt), image);
        for locate in 0..LOCATES {
            prop_assert_eq!(rebuilt.digest_of(locate), original.digest_of(locate));
            for side in SIDES {
                prop_assert_eq!(side_of(rebuilt.book(locate), side), model.side(locate, side));
            }
        }
        for draft in more.iter().filter(|draft| !is_status(draft)) {
            let message = draft.to_bytes(references);
            let (left, right) = (original.apply(&message), rebuilt.apply(&message));
            prop_assert_eq!((left.effect, left.touched), (right.effect, right.touched));
        }
        prop_assert_eq!(rebuilt.digest(), original.digest());
    }
}

fn is_status(draft: &Draft) -> bool {
    matches!(
        draft,
        Draft::Event { .. }
            | Draft::Directory { .. }
            | Draft::Action { .. }
            | Draft::Halt { .. }
            | Draft::RegSho { .. }
            | Draft::Raw(_)
    )
}

/// Symbols of the books that have orders.
fn names_of(model: &Model) -> Vec<Option<seqcast_wire::itch::Stock>> {
    let has_orders = |locate: u16| model.levels.keys().any(|key| key.0 == locate);
    (0..LOCATES).filter(|&locate| has_orders(locate)).map(|locate| model.stock(locate)).collect()
}

/// A level that the digest must tell apart from its neighbours: every single change changes it.
#[test]
fn every_part_of_the_state_is_in_the_digest() {
    let add = |number, side, shares, price, mpid| Draft::Add {
        locate: 1,
        number,
        side,
        shares,
        price,
        stock: 1,
        mpid,
    };
    let base = vec![
        Draft::Event { event: b'O' },
        Draft::Directory { locate: 1, stock: 1 },
        Draft::Action { locate: 1, state: b'T' },
        Draft::Halt { locate: 1, market: b'Q', action: b'T' },
        Draft::RegSho { locate: 1, action: b'0' },
        add(1, b'B', 100, 50, None),
        add(2, b'B', 100, 50, None),
        add(3, b'S', 100, 60, Some(1)),
    ];
    let changes: Vec<(usize, Draft)> = vec![
        (0, Draft::Event { event: b'S' }),
        (1, Draft::Directory { locate: 1, stock: 2 }),
        (1, Draft::Directory { locate: 2, stock: 1 }),
        (2, Draft::Action { locate: 1, state: b'H' }),
        (3, Draft::Halt { locate: 1, market: b'B', action: b'T' }),
        (3, Draft::Halt { locate: 1, market: b'Q', action: b'H' }),
        (4, Draft::RegSho { locate: 1, action: b'1' }),
        (5, add(4, b'B', 100, 50, None)),
        (5, add(1, b'S', 100, 50, None)),
        (5, add(1, b'B', 101, 50, None)),
        (5, add(1, b'B', 100, 51, None)),
        (5, add(1, b'B', 100, 50, Some(0))),
        (7, add(3, b'S', 100, 60, Some(2))),
        (7, add(3, b'S', 100, 60, None)),
    ];
    let digest = |drafts: &[Draft]| {
        let mut books = books(4, 40);
        for draft in drafts {
            books.apply(&draft.to_bytes(References::Dense));
        }
        books.digest()
    };
    let mut digests = vec![digest(&base), digest(&base[..7]), digest(&[])];
    let mut swapped = base.clone();
    swapped.swap(5, 6);
    digests.push(digest(&swapped));
    for (at, change) in changes {
        let mut drafts = base.clone();
        drafts[at] = change;
        digests.push(digest(&drafts));
    }
    let count = digests.len();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), count);
    assert_eq!(digest(&base), digest(&base.clone()));
}

#[test]
fn the_index_grows_from_almost_nothing() {
    for references in References::ALL {
        let mut books = books(1, 300_000);
        let add = |number: u64| Draft::Add {
            locate: (number % 7) as u16,
            number,
            side: if number.is_multiple_of(2) { b'B' } else { b'S' },
            shares: 1 + (number % 50) as u32,
            price: 10_000 + (number.wrapping_mul(0x9e37_79b9) % 300) as u32,
            stock: (number % 7) as u8,
            mpid: None,
        };
        for number in 0..300_000 {
            books.apply(&add(number).to_bytes(references));
        }
        assert_eq!(books.live_orders(), 300_000);
        for number in 0..300_000 {
            let order = books.order(references.of(number)).unwrap();
            assert_eq!(order.shares, 1 + (number % 50) as u32);
        }
        for number in (0..300_000).step_by(3) {
            books.apply(&Draft::Delete { locate: (number % 7) as u16, number }.to_bytes(references));
        }
        assert_eq!(books.stats().symptoms(), 0);
        for number in 0..300_000 {
            assert_eq!(books.order(references.of(number)).is_some(), number % 3 != 0);
        }
        let digest = books.digest();
        let image = image_of(&books);
        books.clear();
        assert_eq!((books.live_orders(), books.live_levels(), books.locates()), (0, 0, 0));
        for message in &image {
            books.apply(message);
        }
        assert_eq!(books.digest(), digest);
    }
}

/// Memory is bounded by the orders that are live, not by how many there were or how large their references are.
#[test]
fn few_live_orders_never_run_out_of_room() {
    for references in References::ALL {
        let mut books = books(64, 64);
        for number in 0..200_000_u64 {
            let locate = (number % 3) as u16;
            if number >= 64 {
                let message = Draft::Delete { locate: ((number - 64) % 3) as u16, number: number - 64 };
                books.apply(&message.to_bytes(references));
            }
            let price = 1 + (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u32;
            let add =
                Draft::Add { locate, number, side: b'B', shares: 1, price, stock: locate as u8, mpid: None };
            books.apply(&add.to_bytes(references));
        }
        assert_eq!(books.live_orders(), 64);
        assert_eq!((books.stats().over_limits, books.stats().symptoms()), (0, 0));
    }
}

#[test]
fn a_side_has_a_bounded_number_of_levels() {
    let mut books = books(1_000, 200_000);
    for number in 0..70_000_u32 {
        // Away from the touch, towards it, and in between.
        let price = 1_000_000 + number * 7 % 70_001;
        let add = Draft::Add {
            locate: 1,
            number: u64::from(number),
            side: b'S',
            shares: 1,
            price,
            stock: 1,
            mpid: None,
        };
        books.apply(&add.to_bytes(References::Dense));
    }
    assert_eq!(books.live_levels(), 65_536);
    assert_eq!(books.live_orders(), 65_536);
    assert_eq!(books.stats().over_limits, 70_000 - 65_536);
    let prices: Vec<u32> = books.book(1).asks().map(|level| level.price().units()).collect();
    assert!(prices.is_sorted());
    for number in 0..65_536 {
        books.apply(&Draft::Delete { locate: 1, number }.to_bytes(References::Dense));
    }
    assert_eq!((books.live_levels(), books.live_orders()), (0, 0));
    assert_eq!(books.stats().symptoms(), 0);
}

#[test]
fn symbols_are_found_by_directory_or_by_latest_order() {
    let mut books = books(4, 40);
    let add = |locate, number, stock| {
        Draft::Add { locate, number, side: b'B', shares: 1, price: 5, stock, mpid: None }
            .to_bytes(References::Dense)
    };
    assert_eq!(books.locate_of(&symbol(1).0), None);
    books.apply(&add(9, 1, 1));
    assert_eq!(books.locate_of(&symbol(1).0), Some(9));
    books.apply(&Draft::Directory { locate: 4, stock: 2 }.to_bytes(References::Dense));
    assert_eq!(books.locate_of(&symbol(2).0), Some(4));
    books.apply(&Draft::Directory { locate: 9, stock: 3 }.to_bytes(References::Dense));
    assert_eq!((books.locate_of(&symbol(1).0), books.locate_of(&symbol(3).0)), (None, Some(9)));
    books.apply(&add(u16::MAX, 2, 0));
    assert_eq!(books.locate_of(&symbol(0).0), Some(u16::MAX));
    assert_eq!(books.locates(), 65_536);
}

#[test]
fn impossible_bounds_are_refused() {
    let config = |max_orders| BooksConfig { expected_orders: 1, max_orders, seed: 0 };
    assert!(Books::new(config(0)).is_err());
    let message = Books::new(config(u32::MAX)).err().unwrap().to_string();
    assert!(message.contains("max_orders is 4294967295"), "{message}");
}
