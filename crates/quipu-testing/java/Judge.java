// Everything that is committed in a topic, as Apache Kafka's own client sees it: a line for each message,
// each partition's in their order.

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.BufferedOutputStream;
import java.io.PrintStream;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

public class Judge {
    public static void main(String[] arguments) {
        var properties = new Properties();
        properties.put("bootstrap.servers", arguments[0]);
        properties.put("isolation.level", "read_committed");
        properties.put("max.poll.records", "10000");
        var out = new PrintStream(new BufferedOutputStream(System.out), false, UTF_8);
        try (var consumer = new KafkaConsumer<>(
                properties, new StringDeserializer(), new ByteArrayDeserializer())) {
            var partitions = consumer.partitionsFor(arguments[1]).stream()
                    .map(it -> new TopicPartition(it.topic(), it.partition()))
                    .toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            var ends = consumer.endOffsets(partitions);
            while (ends.entrySet().stream().anyMatch(it -> consumer.position(it.getKey()) < it.getValue())) {
                for (var message : consumer.poll(Duration.ofMillis(200))) {
                    var id = message.headers().lastHeader("ce_id");
                    out.println(message.key() + "\t" + new String(id.value(), UTF_8));
                }
            }
        }
        out.flush();
    }
}
