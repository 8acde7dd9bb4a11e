use quipu::TagValue;

#[derive(TagValue)]
struct TwoParts(String, u64);

#[derive(TagValue)]
struct Generic<T>(T);

fn main() {}
