use crate::config::derive::tests::{derive, machine, refused};
use crate::config::raw::Raw;

const ORDERS: &str = r#"sink = "null"
[[schema]]
stream = "orders"
additional = false

[[schema.field]]
pointer = "/id"
required = true
prefix = "ord-"
max_length = 64

[[schema.field]]
pointer = "/state"
type = ["string", "null"]
enum = ["open", "paid"]

[[schema.field]]
pointer = "/attrs"
additional = false

[[schema.field]]
pointer = "/attrs/http.status"
type = "integer"
enum = [200, 0x194]

[[schema]]
stream = "*"
field = [{ pointer = "/ts", required = true, type = "number" }, { pointer = "/any" }]
"#;

#[test]
fn schemas_are_read_and_printed() {
    let plan = derive(ORDERS);
    let printed = plan.to_string();
    let rows: Vec<&str> = printed.lines().filter_map(|line| line.strip_prefix("schema           ")).collect();
    assert_eq!(
        rows,
        [
            "`orders`: /id required, string, at most 64 bytes, prefix \"ord-\"; /state string or null, one of \"open\" \
             \"paid\"; /attrs object, no other names; /attrs/http.status integer, one of 200 404; no other names",
            "`*`: /ts required, number; /any anything; other names allowed",
        ]
    );
    let schemas = plan.memory.per_shard.iter().find(|term| term.name == "schemas").unwrap();
    assert_eq!(schemas.count, 2);
    assert!(schemas.each_bytes > 10_000, "{} bytes", schemas.each_bytes);
    let none = derive("sink = \"null\"");
    assert!(none.schemas.is_empty() && none.memory.per_shard.iter().all(|term| term.name != "schemas"));
}

#[test]
fn what_cannot_be_read_is_told_with_its_line() {
    let schema = |rest: &str| format!("[[schema]]\nstream = \"a\"\n{rest}");
    let field = |rest: &str| schema(&format!("[[schema.field]]\npointer = \"/p\"\n{rest}"));
    for (text, errors) in [
        ("schema = 3".into(), "a.toml line 1: `schema` is a list of tables: write [[schema]] above each"),
        (
            "[schema]\nstream = \"a\"".into(),
            "a.toml line 1: `schema` is a list of tables: write [[schema]] above each",
        ),
        (
            "[[schema]]\nadditional = false".into(),
            "a.toml line 1: a schema needs `stream`: the name of one, or \"*\" for all that have no schema of their own",
        ),
        (
            "[[schema]]\nstream = \"a b\"\nadditional = false".into(),
            "a.toml line 2: `a b` is no stream; expected 1 to 64 of letters, digits, `.`, `_` and `-`, or \"*\"",
        ),
        (schema(""), "a.toml line 1: a schema without fields asks for nothing: add [[schema.field]]"),
        (
            schema("fields = []"),
            "a.toml line 3: a schema has no `fields`; it has `stream`, `additional` or `field`",
        ),
        (schema("additional = \"no\""), "a.toml line 3: `additional`: expected true or false, not a string"),
        (
            schema("[[schema.field]]\nrequired = true"),
            "a.toml line 3: a field needs `pointer`, such as \"/user/id\"",
        ),
        (
            field("max-len = 3"),
            "a.toml line 5: a field of a schema has no `max_len`; it has `pointer`, `required`, `type`, `max_length`, \
             `enum`, `prefix` or `additional`",
        ),
        (
            field("type = \"text\""),
            "a.toml line 5: `text` is no type; expected `string`, `number`, `integer`, `boolean`, `null`, `object` or `array`",
        ),
        (field("type = [1]"), "a.toml line 5: `type`: expected a string, not an integer"),
        (
            field("max_length = 300000"),
            "a.toml line 5: `max_length`: expected a whole number of bytes, at most 262144, not an integer",
        ),
        (
            field("max_length = -1"),
            "a.toml line 5: `max_length`: expected a whole number of bytes, at most 262144, not an integer",
        ),
        (
            field("enum = [[1]]"),
            "a.toml line 5: `enum`: expected a list of strings, numbers, true and false, not an array",
        ),
        (
            field("enum = [inf]"),
            "a.toml line 5: `enum`: expected a list of strings, numbers, true and false, not a float",
        ),
        (field("enum = []"), "a.toml line 5: `enum` names no value, so none could ever be right: name some"),
        (field("required = 1"), "a.toml line 5: `required`: expected true or false, not an integer"),
        (
            field("type = \"number\"\nprefix = \"x\""),
            "a.toml line 3: field `/p`: `prefix` is of use only with strings, and `type` does not name string",
        ),
        (
            field("type = \"string\"\nadditional = false"),
            "a.toml line 3: field `/p`: `additional` is of use only with objects, and `type` does not name object",
        ),
        (
            field("type = \"string\"\nenum = [\"a\", 2]"),
            "a.toml line 3: field `/p`: `2` of `enum` is of none of the field's types: leave it out, or name its type",
        ),
        (field("max_length = 3\nmax-length = 3"), "a.toml line 6: `max_length` is given twice"),
    ] {
        let got: Vec<String> =
            Raw::from_toml(&text, "a.toml").expect_err(&text).iter().map(ToString::to_string).collect();
        assert_eq!(got.join("\n"), errors, "{text}");
    }
}

#[test]
fn what_cannot_be_compiled_is_told_with_its_line() {
    let head = "sink = \"null\"\n[[schema]]\nstream = \"a\"\n";
    for (rest, errors) in [
        (
            "[[schema.field]]\npointer = \"id\"",
            "a.toml line 4: field `id`: a JSON pointer begins with `/`, as in /user/id",
        ),
        (
            "[[schema.field]]\npointer = \"/a\"\n[[schema.field]]\npointer = \"/a\"",
            "a.toml line 6: field `/a`: another field of this schema has that pointer: make one of the two",
        ),
        (
            "additional = false\n[[schema]]\nstream = \"a\"\nadditional = false",
            "a.toml line 5: schema of `a`: another schema is of that stream: make one of the two",
        ),
    ] {
        assert_eq!(refused(&format!("{head}{rest}"), &machine()), errors, "{rest}");
    }
    let fields: String = (0..64).map(|n| format!("[[schema.field]]\npointer = \"/f{n}\"\n")).collect();
    let full = format!("[[schema]]\nstream = \"a\"\n{fields}");
    derive(&format!("sink = \"null\"\n{full}"));
    let kafka = format!("sink = \"kafka:127.0.0.1:9092/t\"\nkafka.key = \"/k\"\n{full}");
    assert_eq!(
        refused(&kafka, &machine()),
        "a.toml line 3: schema of `a`: the pointers of one schema, and of the Kafka key and time, have at most 64 \
         different steps and 2048 bytes of names: name fewer fields"
    );
}
