// beck.h in a C++ program: it compiles without a warning, and its values can be made there.
#include <beck.h>

static int listen(void *ctx, const beck_error *error)
{
    return ctx == nullptr && error != nullptr ? 1 : 0;
}

int main()
{
    beck_options options = {};
    beck_bus_options bus_options = {};
    beck_publish_options publish_options = {};
    beck_queue_options queue_options = {};
    beck_worker_options worker_options = {};
    beck_event event = {};
    beck_error error = {};
    const beck_bytes type = {"order.created", 13};
    event.type = type;
    const bool zero = options.data_dir == nullptr && bus_options.storage == BECK_STORAGE_DEFAULT &&
                      publish_options.level == BECK_LEVEL_DEFAULT && worker_options.threads == 0 &&
                      error.code == BECK_OK;
    static_cast<void>(queue_options);
    return zero && event.type.len == 13 ? listen(nullptr, nullptr) : 1;
}
