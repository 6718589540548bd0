"""beck bench: what it reports, and that nothing of it stays."""
import os

from beck import BeckTest, INTERRUPTED, USAGE, interrupt, main


class Bench(BeckTest):
    def tearDown(self):
        self.assertEqual(os.listdir(self.dir), [])
        super().tearDown()

    def test_every_measurement_counts_what_it_was_asked_for(self):
        lines = self.beck("bench", "--json", "--events", "300", "--size", "64", "--threads", "3").json
        self.assertEqual([line["name"] for line in lines], ["append", "publish", "disk alone", "queue", "replay"])
        for line in lines:
            self.assertEqual((line["events"], line["size"]), (300, 64), line)
            self.assertGreater(line["events_per_second"], 0)
        for line in lines[1:3]:
            self.assertEqual(line["level"], "synced")
            self.assertTrue(0 < line["p50_ns"] <= line["p90_ns"] <= line["p99_ns"] <= line["max_ns"], line)
        self.assertEqual(lines[0]["level"], "written")

    def test_people_get_a_table(self):
        table = self.beck("bench", "append", "-n", "1000", "--batch", "7", "--level", "none").lines
        self.assertEqual(table[0].split()[:3], ["what", "level", "events"])
        self.assertEqual(table[1].split()[:3], ["append", "none", "1,000"])
        self.assertEqual(len(table), 2)

    def test_publishing_without_a_sync_says_nothing_of_the_disk(self):
        lines = self.beck("bench", "publish", "--json", "-n", "100", "--level", "written").json
        self.assertEqual([(line["name"], line["level"]) for line in lines], [("publish", "written")])

    def test_a_signal_ends_it_and_nothing_stays(self):
        process = self.start("bench", "append", "--events", "1000000000", "--level", "synced", "--batch", "1")
        while not os.listdir(self.dir):
            pass
        interrupt(process)
        process.communicate(timeout=600)
        self.assertEqual(process.returncode, INTERRUPTED)

    def test_what_cannot_be_measured_is_named(self):
        self.refused(USAGE, "bench", "everything", says="'everything' cannot be measured")
        self.refused(USAGE, "bench", "--threads", "0", says="--threads")


if __name__ == "__main__":
    main()
