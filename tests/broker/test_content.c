/* Field tables and properties of AMQP messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/content.h"

int main(void)
{
    return 0;
}
