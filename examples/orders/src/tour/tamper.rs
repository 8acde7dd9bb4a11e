//! A byte that is changed on the disk: verifying names the place, and reading refuses.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quipu::Quipu;
use quipu_engine::Damage;

use super::bulk::Bulk;
use super::report::judge;
use super::scene::{Scene, broken, ensure, open, read, store_directory};
use crate::order::{ItemAdded, ItemId, Order, OrderId, upcasters};
use crate::shop::Failure;

/// Small segments, so that there is not much to copy.
const SEGMENT_SIZE: u64 = 1 << 20;
/// The most bytes between where the damage is said to be and the byte itself: an event's.
const DISTANCE_MAX: u64 = 512;
/// The order whose price is changed.
const ORDER: &str = "target";
/// Its price, as it is stored: 1,200.00. With another first digit it is 9,200.00.
const PRICE: &[u8] = b"\"cents\":120000";
const DIGIT: usize = 8;

pub(super) async fn run(scene: &Scene) -> Result<String, Failure> {
    let (app, position) = fill(scene).await?;
    let original = store_directory(scene.directory());
    drop(app);
    let copies = scene.path("copies");
    let (whole, forged) = (copies.join("whole"), copies.join("forged"));
    for copy in [&whole, &forged] {
        copy_directory(&original, &store_directory(copy))?;
    }
    scene.say(
        "A store is copied twice. In one copy somebody changes one byte of a file, so that an",
    );
    scene.say("order of 1,200.00 becomes one of 9,200.00. Then every byte is verified.");
    let (file, offset) = forge(&store_directory(&forged))?;

    let (event_count, damages) = verify(&store_directory(&whole))?;
    ensure(damages.is_empty(), || format!("the whole copy is said to be damaged: {damages:?}"))?;
    scene.say(format!("the whole copy:   {event_count} events, no damage"));
    let (_, damages) = verify(&store_directory(&forged))?;
    let found = damages.iter().find(|damage| {
        let is_near = offset.checked_sub(damage.offset).is_some_and(|it| it <= DISTANCE_MAX);
        damage.file == file && is_near
    });
    let found = found.ok_or_else(|| {
        broken(format!("byte {offset} of {} was changed, found: {damages:?}", file.display()))
    })?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    scene.say(format!("the forged copy:  {name}, byte {}: {}", found.offset, found.reason));
    scene.say(format!(
        "                  (byte {offset} was changed, in the event at position {position})"
    ));

    let price = price(&whole).await?;
    ensure(price == Some(120_000), || format!("the whole copy's price is {price:?}"))?;
    match self::price(&forged).await {
        Ok(price) => return Err(broken(format!("the forged order is read, at {price:?} cents"))),
        Err(error) => scene.say(format!("reading it:       refused, {}", judge(&*error).1)),
    }
    Ok(format!("{name} byte {} named, for byte {offset}", found.offset))
}

/// A store with some orders, and among them the one that is changed. Answers its event's position.
async fn fill(scene: &Scene) -> Result<(Quipu, quipu::Position), Failure> {
    let options = quipu_engine::OpenOptions::new().create(true).segment_size(SEGMENT_SIZE);
    let engine = options.open(store_directory(scene.directory()))?;
    let app = Quipu::over(Arc::new(engine)).with_upcasters(upcasters())?;
    let mut bulk = Bulk::default();
    let orders = scene.count(2_000, 200);
    for number in 0..orders / 2 {
        bulk.add_order(number)?;
    }
    let order = OrderId(ORDER.to_owned());
    let (item, currency) = (ItemId("loom".to_owned()), "EUR".to_owned());
    bulk.add(&ItemAdded { order, item, cents: 120_000, currency })?;
    for number in orders / 2..orders {
        bulk.add_order(number)?;
    }
    bulk.append(&app).await?;
    let own = read(&app, format!("stream:order-{ORDER}").parse()?).await?;
    let position = own.first().map(|event| event.position);
    Ok((app, position.ok_or_else(|| broken("the order is not there"))?))
}

/// What the order costs, by the store in this directory.
async fn price(directory: &Path) -> Result<Option<u64>, Failure> {
    let app = open(directory).await?;
    let order = app.load(Order::of(OrderId(ORDER.to_owned()))).await?;
    Ok(order.cents.get("EUR").copied())
}

/// Changes the first digit of the price. Answers in which file, and at which byte.
fn forge(store: &Path) -> Result<(PathBuf, u64), Failure> {
    for entry in fs::read_dir(store.join("segments"))? {
        let file = entry?.path();
        let mut bytes = fs::read(&file)?;
        let Some(at) = bytes.windows(PRICE.len()).position(|window| window == PRICE) else {
            continue;
        };
        let offset = at + DIGIT;
        if let Some(byte) = bytes.get_mut(offset) {
            *byte = b'9';
        }
        fs::write(&file, bytes)?;
        return Ok((file, offset as u64));
    }
    Err(broken("the price is in no segment"))
}

/// What `quipu verify` does: every byte of the store is looked at.
fn verify(store: &Path) -> Result<(u64, Vec<Damage>), Failure> {
    let mut damages = Vec::new();
    let verified = quipu_engine::verify(store, &mut |damage| damages.push(damage), &mut |_| {})?;
    Ok((verified.event_count, damages))
}

fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
