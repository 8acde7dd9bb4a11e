// Debezium's connector for PostgreSQL and its outbox event router, configured by a file: a line for each
// message that it would send.

import static java.nio.charset.StandardCharsets.UTF_8;

import io.debezium.embedded.Connect;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.RecordChangeEvent;
import io.debezium.engine.format.ChangeEventFormat;
import java.io.FileReader;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Properties;
import org.apache.kafka.connect.source.SourceRecord;

public class Outbox {
    public static void main(String[] arguments) throws Exception {
        var properties = new Properties();
        try (var file = new FileReader(arguments[0], UTF_8)) {
            properties.load(file);
        }
        properties.put("name", "outbox");
        properties.put("offset.storage", "org.apache.kafka.connect.storage.MemoryOffsetBackingStore");
        properties.put("offset.flush.interval.ms", "1000");
        var engine = DebeziumEngine.create(ChangeEventFormat.of(Connect.class))
                .using(properties)
                .using((success, message, error) -> {
                    System.err.println(success + " " + message + " " + error);
                    System.exit(success ? 0 : 1);
                })
                .notifying((RecordChangeEvent<SourceRecord> event) -> show(event.record()))
                .build();
        engine.run();
    }

    static void show(SourceRecord message) {
        // What the connector says of itself has no key of a stream.
        if (message.key() == null) {
            return;
        }
        var words = new ArrayList<String>();
        words.add(message.topic());
        words.add(message.key().toString());
        words.add(text(message.value()));
        for (var header : message.headers()) {
            // Debezium adds some of its own.
            if (header.key().startsWith("__debezium.")) {
                continue;
            }
            words.add(header.key() + "=" + text(header.value()));
        }
        System.out.println(String.join("\t", words));
    }

    static String text(Object value) {
        if (value instanceof ByteBuffer buffer) {
            return UTF_8.decode(buffer.duplicate()).toString();
        }
        return value instanceof byte[] bytes ? new String(bytes, UTF_8) : String.valueOf(value);
    }
}
